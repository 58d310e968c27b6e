// BullMQ on Redis at its documented best: four workers of 100 in one process. Finished jobs are removed.
import { packages, plan, run } from './driver.mjs'

const { Queue, Worker } = packages('bullmq')
const at = new URL(plan.url)
const connection = { host: at.hostname, port: Number(at.port), maxRetriesPerRequest: null }
const queue = new Queue('bench', { connection })
await queue.waitUntilReady()

const workers = []
// Loaded and connected before the clock starts, as every peer's process is.
async function make (latency, seen) {
  const many = latency ? 1 : 4
  for (let index = 0; index < many; index++) {
    const options = { connection, concurrency: latency ? 10 : 100, removeOnComplete: { count: 0 }, autorun: false }
    const worker = new Worker('bench', async () => { seen(1) }, options)
    worker.on('error', error => { throw error })
    await worker.waitUntilReady()
    workers.push(worker)
  }
}

await run({
  removes: true,
  one: job => queue.add('noop', job),
  async many (jobs) {
    for (let from = 0; from < jobs.length; from += 1000) {
      await queue.addBulk(jobs.slice(from, from + 1000).map(data => ({ name: 'noop', data })))
    }
  },
  async work ({ latency }, seen) {
    await make(latency, seen)
    for (const worker of workers) worker.run()
  },
  async unfinished () {
    const counts = await queue.getJobCounts('wait', 'active', 'prioritized', 'delayed')
    return Object.values(counts).some(count => count > 0)
  },
})
