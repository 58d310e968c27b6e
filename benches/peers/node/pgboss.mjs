// pg-boss at its documented best: fetches of 1,000, one handler call a fetch, no maintenance in this process. Keeps history.
import { packages, plan, run } from './driver.mjs'

const module = packages('pg-boss')
const PgBoss = module.PgBoss ?? module.default
const { Pool } = packages('pg')

const latency = plan.scenario === 'latency'
const boss = new PgBoss({ connectionString: plan.url, max: 10, supervise: false, schedule: false, useListenNotify: latency })
boss.on('error', error => { throw error })
await boss.start()
await boss.createQueue('bench', latency ? { notify: true } : {})
const pool = new Pool({ connectionString: plan.url, max: 1 })

await run({
  removes: false,
  one: job => boss.send('bench', job),
  many: jobs => boss.insert('bench', jobs.map(data => ({ data }))),
  work ({ latency }, seen) {
    const best = { batchSize: 1000, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
    const idle = { batchSize: 1, localConcurrency: 2 }
    return boss.work('bench', latency ? idle : best, async jobs => { seen(jobs.length) })
  },
  async unfinished () {
    const sql = "select exists (select from pgboss.job where name = 'bench' and state < 'completed') as some"
    const { rows } = await pool.query(sql)
    return rows[0].some
  },
})
