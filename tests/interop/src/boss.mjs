// pg-boss, driven by lines of JSON on stdin: {id, call, args} is answered by {id, ok} or {id, error}.
// Jobs that its workers take are told as {job: {token, queue, id, data, retryCount, expireInSeconds}} and wait for the
// call `settle` with the token. It ends with its stdin.
import { createInterface } from 'node:readline'
// Of the folder in which this process was started.
import { PgBoss } from 'pg-boss'

const tell = line => process.stdout.write(JSON.stringify(line) + '\n')
const held = new Map()
let boss
let tokens = 0

const own = {
  // Errors that no call is there to answer are told too: a test that expects none fails with their words.
  async start (options) {
    boss = new PgBoss(options)
    boss.on('error', error => tell({ told: { error: String(error.message) } }))
    boss.on('warning', warning => tell({ told: { warning: warning.message } }))
    boss.on('bam', event => tell({ told: { bam: event } }))
    await boss.start()
    return await boss.schemaVersion()
  },
  // With `answer` in the options a job is answered at once, and told when its handler is through.
  async work (queue, { answer, ...options } = {}) {
    return await boss.work(queue, { pollingIntervalSeconds: 0.5, ...options }, async ([job]) => {
      const token = ++tokens
      const { id, data, retryCount, expireInSeconds } = job
      const line = { job: { token, queue, id, data, retryCount, expireInSeconds } }
      if (answer !== undefined) {
        tell(line)
        return answer
      }
      const settled = new Promise((resolve, reject) => held.set(token, { resolve, reject }))
      tell(line)
      return await settled
    })
  },
  // How a held job ends: {return: value} or {throw: message}.
  async settle (token, how) {
    const job = held.get(token)
    if (!job) throw new Error(`no job is held as ${token}`)
    held.delete(token)
    if ('throw' in how) job.reject(new Error(how.throw))
    else job.resolve(how.return)
  },
  async instances () { return (await boss.getInstances()).length }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, call, args } = JSON.parse(line)
  const run = async () => own[call] ? await own[call](...args) : await boss[call](...args)
  run().then(
    ok => tell({ id, ok: ok === undefined ? null : ok }),
    error => tell({ id, error: { message: String(error.message), code: error.code ?? null } })
  )
}
process.exit(0)
