import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { compile } from './directory.js'

/**
 * A program of the benchmark, which runs on one processor and answers in lines of JSON. It is killed when this process ends,
 * in whatever way.
 */
export class Program implements AsyncDisposable {
  readonly #name: string
  readonly #process: ChildProcess
  readonly #answers: AsyncIterator<string>
  readonly #lines: Interface
  readonly #ended: Promise<unknown>
  #complaint = ''

  constructor(name: string, processor: number, command: string, args: readonly string[]) {
    this.#name = name
    this.#process = spawn(compile('pin'), [String(processor), command, ...args], {
      stdio: 'pipe',
      env: environmentFor(command),
    })
    this.#ended = once(this.#process, 'close').catch((error) => {
      this.#complaint += error.message
    })
    this.#process.stderr?.setEncoding('utf8').on('data', (text) => {
      this.#complaint += text
    })
    // The program may already have ended.
    this.#process.stdin?.on('error', () => {})
    this.#lines = createInterface({ input: this.#process.stdout as NonNullable<ChildProcess['stdout']> })
    this.#answers = this.#lines[Symbol.asyncIterator]()
  }

  get pid(): number {
    return this.#process.pid as number
  }

  /**
   * Returns the next answer. Throws an error with the program's error output if the program ends without one. The program is
   * killed after `timeout` **milliseconds**.
   */
  async answer<T>(timeout = 60_000): Promise<T> {
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), timeout)
    const { value, done } = await this.#answers.next()
    clearTimeout(timer)
    if (!done) return JSON.parse(value) as T
    await this.#ended
    throw new Error(`${this.#name} has ended: ${this.#complaint.trim() || 'it said nothing'}`)
  }

  /** Sends a line to the program, and returns the answer. */
  ask<T>(text: string, timeout?: number): Promise<T> {
    this.#process.stdin?.write(`${text}\n`)
    return this.answer(timeout)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#ended
    this.#lines.close()
  }
}

/** Removes the sanitizer's library, which `npm run test:asan` preloads, unless the program is Node, which loads our binary. */
function environmentFor(command: string): NodeJS.ProcessEnv {
  if (command === process.execPath) return process.env
  const { LD_PRELOAD: _, ...rest } = process.env
  return rest
}
