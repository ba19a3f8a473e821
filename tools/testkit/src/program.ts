import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { onTestFinished } from 'vitest'

/** How a program ended. */
export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running program. */
export interface Program {
  readonly process: ChildProcess
  /** The standard output so far. */
  readonly stdout: string
  readonly stderr: string
  /** Fulfilled when the program has ended and closed its output; rejected if it couldn't be started. */
  readonly finished: Promise<Finished>
}

/**
 * Starts a program and collects its output. The program is killed when the running test ends. Its standard input is a pipe,
 * and `options.stdio` may add descriptors from 3 on.
 */
export function spawnProgram(command: string, args: readonly string[] = [], options: SpawnOptions = {}): Program {
  const env = environmentFor([command, ...args], options.env)
  const child = spawn(command, args, { stdio: 'pipe', ...options, env })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
    })
  }
  // A program may end without reading its input.
  child.stdin?.on('error', () => {})
  const finished = once(child, 'close').then(([code, signal]): Finished => ({ code, signal, ...output }))
  finished.catch(() => {})
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await finished.catch(() => {})
  })
  return {
    process: child,
    get stdout() {
      return output.stdout
    },
    get stderr() {
      return output.stderr
    },
    finished,
  }
}

/**
 * Removes the sanitizer's library, which `npm run test:asan` preloads, from the environment of programs other than Node. Only
 * Node loads our binary, and some programs don't work with the library: curl, for one, waits in `setlocale` forever.
 */
function environmentFor(commandLine: readonly string[], environment = process.env): NodeJS.ProcessEnv {
  if (commandLine.includes(process.execPath)) return environment
  const { LD_PRELOAD: _, ...rest } = environment
  return rest
}

/** Runs a program to its end, and returns its output. Throws an error with its error output if it fails. */
export async function runProgram(
  command: string,
  args: readonly string[] = [],
  { input = '', ...options }: SpawnOptions & { readonly input?: string | Uint8Array } = {},
): Promise<string> {
  const program = spawnProgram(command, args, options)
  program.process.stdin?.end(input)
  const { code, signal, stdout, stderr } = await program.finished
  if (code !== 0) throw new Error(`${command} ended with ${signal ?? code}: ${stderr || stdout}`)
  return stdout
}

/** Runs a Python script to its end, and returns its output. Throws an error with the traceback if it fails. */
export function runPython(script: string, ...args: string[]): Promise<string> {
  return runProgram('python3', ['-u', '-c', script, ...args])
}

/** Returns the first whole line of output that matches. Throws if the program ends without one, or after `timeout` ms. */
export async function waitForLine(program: Program, pattern: RegExp, timeout = 60_000): Promise<string> {
  const deadline = Date.now() + timeout
  let running = true
  const ended = program.finished.then(() => {
    running = false
  })
  for (;;) {
    const last = !running || Date.now() > deadline
    const line = [...wholeLines(program.stdout), ...wholeLines(program.stderr)].find((text) => pattern.test(text))
    if (line !== undefined) return line
    if (last) throw new Error(`no line like ${pattern} in: ${program.stdout}${program.stderr}`)
    await Promise.race([setTimeout(5), ended])
  }
}

function wholeLines(text: string): string[] {
  return text.split('\n').slice(0, -1)
}
