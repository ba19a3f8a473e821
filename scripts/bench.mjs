// Sets up, downloads the runtimes to compare with, and runs the benchmarks.
import { join } from 'node:path'
import { provide } from './provide.mjs'
import { root, run } from './run.mjs'
import { setup } from './setup.mjs'

setup()
const runtimes = { node26: provide('node', '26'), bun: provide('bun'), deno: provide('deno') }
const args = Object.entries(runtimes).flatMap(([name, program]) => ['--runtime', `${name}=${program}`])
run(process.execPath, [join(root, 'tools/bench/dist/index.js'), ...args, ...process.argv.slice(2)])
