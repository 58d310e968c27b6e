// graphile-worker at its documented best: two processes, a local queue, completions in batches. Deletes finished jobs.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { packages, plan, run } from './driver.mjs'

const { Logger, makeWorkerUtils, run: runWorker } = packages('graphile-worker')
const { Pool } = packages('pg')
const logger = new Logger(() => () => {})

function worker (latency, seen) {
  const best = {
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  }
  const idle = { concurrentJobs: 24, maxPoolSize: 25 }
  const settings = { connectionString: plan.url, ...(latency ? idle : best) }
  return runWorker({ preset: { worker: settings }, logger, noHandleSignals: true, taskList: { noop: () => { seen(1) } } })
}

if (plan.part === 'worker') {
  // The second process: loaded and waiting; it tells how many it has run.
  let ran = 0
  let told = 0
  process.on('message', () => {
    worker(false, count => { ran += count })
    setInterval(() => {
      if (ran > told) process.send(ran - told)
      told = ran
    }, 5)
  })
  process.on('disconnect', () => process.exit(0))
  process.send('loaded')
} else {
  const pool = new Pool({ connectionString: plan.url, max: 10 })
  const utils = await makeWorkerUtils({ pgPool: pool, logger })
  await utils.migrate()
  let child
  await run({
    removes: true,
    one: job => utils.addJob('noop', job),
    many: jobs => utils.addJobs(jobs.map(payload => ({ identifier: 'noop', payload }))),
    async prepare () {
      const args = [...process.argv.slice(2), '--part', 'worker']
      child = fork(fileURLToPath(import.meta.url), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      await new Promise(resolve => child.once('message', resolve))
    },
    async work ({ latency }, seen) {
      child?.on('message', seen)
      child?.send('go')
      await worker(latency, seen)
    },
    async unfinished () {
      const { rows } = await pool.query('select exists (select from graphile_worker._private_jobs) as some')
      return rows[0].some
    },
  })
}
