// What the drivers of all Node peers have in common: arguments in, scenarios, one JSON line out.
//
// A driver prints {"ready":true} once everything is prepared and waits for a line on stdin: the harness cleans up the
// database, notes its CPU and WAL, and says go. What follows is on the clock.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const text = { type: 'string' }
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: text, packages: text, bytes: text, jobs: text, bulk: text,
    tasks: text, singles: text, samples: text, 'every-ms': text, part: text,
  },
})
const number = (name, fallback) => {
  const value = Number(values[name] ?? fallback)
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name}: got ${values[name]}, expected a number`)
  return value
}
export const plan = {
  scenario: positionals[0] ?? '',
  url: values.url ?? '',
  bytes: number('bytes', 100),
  jobs: number('jobs', 1000),
  bulk: number('bulk', 5000),
  tasks: number('tasks', 50),
  singles: number('singles', 1000),
  samples: number('samples', 20),
  every: number('every-ms', 50),
  part: values.part,
}

// Packages lie under target/, the drivers do not.
export const packages = createRequire(`${values.packages}/package.json`)

export function payload (id) {
  const bare = { id, to: 'user@example.com', tpl: 'welcome', pad: '' }
  const size = JSON.stringify(bare).length
  return { ...bare, pad: 'x'.repeat(Math.max(0, plan.bytes - size)) }
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
export async function ready () {
  process.stdout.write('{"ready":true}\n')
  await lines.next()
  return performance.now()
}

function done (bench, count, began, took = []) {
  const seconds = (performance.now() - began) / 1e3
  const line = JSON.stringify({ bench, count, seconds, took_ms: took.map(one => Math.round(one * 1e3) / 1e3) })
  process.stdout.write(line + '\n', () => process.exit(0))
}

async function fill (peer, count) {
  for (let from = 0; from < count; from += plan.bulk) {
    const jobs = Array.from({ length: Math.min(plan.bulk, count - from) }, (_, index) => payload(from + index))
    await peer.many(jobs)
  }
}

// A peer: one(job), many(jobs), work({ latency }, seen), unfinished(), removes.
export async function run (peer) {
  const scenarios = { enqueue, bulk, drain, latency }
  const scenario = scenarios[plan.scenario]
  if (!scenario) throw new Error(`no scenario ${plan.scenario}; there are ${Object.keys(scenarios).join(', ')}`)
  await scenario(peer)
}

async function enqueue (peer) {
  await fill(peer, plan.tasks)
  await Promise.all(Array.from({ length: plan.tasks }, (_, index) => peer.one(payload(index))))
  const took = []
  let next = 0
  const began = await ready()
  await Promise.all(Array.from({ length: plan.tasks }, async () => {
    while (next < plan.singles) {
      const job = payload(next++)
      const before = performance.now()
      await peer.one(job)
      took.push(performance.now() - before)
    }
  }))
  done(`enqueue/${plan.tasks}`, plan.singles, began, took)
}

async function bulk (peer) {
  await fill(peer, 1)
  const began = await ready()
  await fill(peer, plan.jobs)
  done('bulk', plan.jobs, began)
}

async function drain (peer) {
  await fill(peer, plan.jobs)
  let ran = 0
  let last
  const all = new Promise(resolve => { last = resolve })
  // A first look makes its connection.
  await peer.unfinished()
  await peer.prepare?.(plan.jobs)
  const began = await ready()
  await peer.work({ latency: false }, count => {
    ran += count
    if (ran >= plan.jobs) last()
  })
  await all
  while (await peer.unfinished()) await sleep(2)
  if (ran !== plan.jobs) throw new Error(`handler calls: ${ran}, expected ${plan.jobs}`)
  done(peer.removes ? 'drain-remove' : 'drain', plan.jobs, began)
}

async function latency (peer) {
  let started = () => {}
  await peer.work({ latency: true }, () => started(performance.now()))
  const sample = async index => {
    const at = new Promise(resolve => { started = resolve })
    const before = performance.now()
    await peer.one(payload(index))
    return await at - before
  }
  for (let index = 0; index < 20; index++) {
    await sample(index)
    await sleep(plan.every)
  }
  const took = []
  const began = await ready()
  for (let index = 0; index < plan.samples; index++) {
    const due = began + index * plan.every
    await sleep(Math.max(0, due - performance.now()))
    took.push(await sample(index))
  }
  done('latency', plan.samples, began, took)
}
