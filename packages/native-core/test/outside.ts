/** Runs Node programs and Workers that import the sources, outside of vitest, where TypeScript must be compiled first. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isMainThread, Worker } from 'node:worker_threads'
import { type Finished, type Need, type Program, spawnProgram } from '@linux-sockets/testkit'
import ts from 'typescript'
import { afterAll, beforeAll } from 'vitest'
import { dup, type OwnedFd } from '../src/index.js'

const source = join(import.meta.dirname, '../src')

/** The binary under test. */
export const binary = process.env.LINUX_SOCKETS_BINARY ?? join(import.meta.dirname, '../build/Release/native_core.node')

/** The environment in which the compiled sources find the binary. */
export const environment = { ...process.env, LINUX_SOCKETS_BINARY: binary }

/**
 * Opens a file for us to own. `fs.open` alone would not do in a Worker: when the Worker ends, Node closes the numbers that
 * came from it again, although other files may have them by then.
 */
export function openFile(path: string, flags = 'r'): OwnedFd {
  const fd = openSync(path, flags)
  const owned = dup({ fd })
  closeSync(fd)
  return owned
}

/** Two calls on one number must not have another thread's descriptor between them. */
export function needOneThread(): Need {
  return isMainThread ? null : 'other threads of this process open descriptors at the same time'
}

let compiled = ''

/** Compiles the sources for the tests of this file. Call it once, at its top. */
export function compileSources(): void {
  beforeAll(() => {
    compiled = mkdtempSync(join(tmpdir(), 'linux-sockets-src-'))
    writeFileSync(join(compiled, 'package.json'), '{ "type": "module" }')
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
    for (const file of files) {
      mkdirSync(dirname(join(compiled, file)), { recursive: true })
      writeFileSync(join(compiled, file.replace(/\.ts$/, '.js')), transpile(readFileSync(join(source, file), 'utf8')))
    }
    const everything = readFileSync(join(import.meta.dirname, 'everything.ts'), 'utf8')
    writeFileSync(join(compiled, 'everything.js'), transpile(everything).replaceAll('../src/', './'))
  })
  afterAll(() => rmSync(compiled, { recursive: true }))
}

function transpile(text: string): string {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 }
  return ts.transpileModule(text, { compilerOptions }).outputText
}

/**
 * Starts a Node program that imports the sources from './everything.js'. Node's `options` stand before the script. Unless
 * they have `--expose-gc`, garbage collection closes nothing: most programs need their sockets until they end, but no longer
 * mention them.
 */
export function spawnModule(script: string, { options = [] as string[], wrapper = [] as string[] } = {}): Program {
  const file = join(compiled, `program-${programs++}.js`)
  writeFileSync(file, script)
  const holding = options.includes('--expose-gc') ? [] : ['--import', HOLD]
  const [command, ...args] = [...wrapper, process.execPath, ...holding, ...options, file]
  return spawnProgram(command as string, args, { env: environment })
}

let programs = 0

const HOLD = `data:text/javascript,${encodeURIComponent('FinalizationRegistry = class { register() {} unregister() {} }')}`

/** Runs a Node program that imports the sources from './everything.js' to its end. */
export function runModule(script: string, settings?: Parameters<typeof spawnModule>[1]): Promise<Finished> {
  const program = spawnModule(script, settings)
  program.process.stdin?.end()
  return program.finished
}

/** Starts a Worker. Its script finds `core` (all of the sources), `parentPort` and `workerData`. */
export function startWorker(script: string, data: unknown = null): { worker: Worker; exit: Promise<unknown> } {
  const worker = new Worker(
    `const { parentPort, workerData: { index, data: workerData } } = require('node:worker_threads')
     import(index).then(async (core) => { ${script} })`,
    {
      eval: true,
      env: environment,
      workerData: { index: pathToFileURL(join(compiled, 'everything.js')).href, data },
    },
  )
  return { worker, exit: new Promise((resolve) => worker.once('exit', resolve)) }
}
