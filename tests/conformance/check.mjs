// Reads the results of the public HTTP cache suite as its own site does: a test whose dependency did
// not pass says nothing. Prints a table and the bars; fails if a required test fails that is not
// expected to, if one passes though it is expected to fail, or if a bar is short. Each edition of the
// suite has its own list of what is expected, and why, in expected-fail.json.
//
// usage: node check.mjs SUITE RESULTS

import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [suite, resultsFile] = process.argv.slice(2)
const current = fs.existsSync(path.join(suite, 'test-engine'))
const load = async name => (await import(pathToFileURL(path.join(suite, 'tests', name)).href)).default

const suites = [...await load('index.mjs')]
if (!current) suites.push(await load('surrogate-control.mjs'))
const results = JSON.parse(fs.readFileSync(resultsFile, 'utf8'))
const expected = JSON.parse(fs.readFileSync(new URL('expected-fail.json', import.meta.url), 'utf8'))[current ? 'current' : 'npm']

// Targeted fields are counted apart: not every cache is a CDN.
const targeted = ['surrogate-control', 'cdn-cache-control']
const tests = new Map()
for (const { id: group, tests: members } of suites) {
  for (const test of members) {
    if (!test.browser_only) tests.set(test.id, { ...test, targeted: targeted.includes(group) })
  }
}

const verdicts = new Map()
function verdict (id) {
  if (!verdicts.has(id)) verdicts.set(id, judge(tests.get(id), results[id]))
  return verdicts.get(id)
}

function judge (test, result) {
  if (test === undefined || result === undefined) return 'untested'
  if ((test.depends_on ?? []).some(id => verdict(id) !== 'pass')) return 'dependency'
  if (result === true) return 'pass'
  return result[0] === 'Setup' ? 'setup' : 'fail'
}

const outcomes = ['pass', 'fail', 'dependency', 'setup', 'untested']
const table = new Map()
for (const test of tests.values()) {
  const row = `${test.targeted ? 'targeted' : 'core'} ${test.kind ?? 'required'}`
  if (!table.has(row)) table.set(row, Object.fromEntries(outcomes.map(outcome => [outcome, 0])))
  table.get(row)[verdict(test.id)] += 1
}
console.log(['tests'.padEnd(20), ...outcomes.map(outcome => outcome.padStart(11))].join(''))
for (const [row, counts] of [...table].sort()) {
  console.log([row.padEnd(20), ...outcomes.map(outcome => String(counts[outcome]).padStart(11))].join(''))
}

let sound = true
for (const test of tests.values()) {
  const id = test.id
  const kind = test.kind ?? 'required'
  if (kind === 'check') continue
  const outcome = verdict(id)
  if (test.targeted && !current) continue // `Surrogate-Control` never became a standard.
  if (outcome === 'pass') {
    if (id in expected) {
      sound = false
      console.log(`passes, though expected to fail: ${id}`)
    }
  } else if (id in expected) {
    console.log(`expected: ${id} (${kind}, ${outcome}): ${expected[id]}`)
  } else if (kind === 'optimal') {
    console.log(`missed: ${id} (${outcome})`)
  } else {
    sound = false
    console.log(`FAILED: ${id} (${outcome}) ${JSON.stringify(results[id])}`)
  }
}

function bar (name, row, limit) {
  const counts = table.get(row)
  if (counts === undefined) return
  const total = Object.values(counts).reduce((sum, count) => sum + count)
  const met = counts.pass >= limit
  sound &&= met
  console.log(`bar: ${name}-of-${total} ${counts.pass} ${limit} ${met ? 'ok' : 'short'}`)
}

if (current) {
  bar('suite-current-required', 'core required', 149)
  bar('suite-current-optimal', 'core optimal', 90)
  bar('suite-current-targeted-required', 'targeted required', 10)
  bar('suite-current-targeted-optimal', 'targeted optimal', 7)
} else {
  bar('suite-npm-required', 'core required', 144)
}
process.exitCode = sound ? 0 : 1
