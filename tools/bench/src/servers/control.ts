/** How a server in JavaScript talks with the benchmark: on any of the runtimes. */
import process from 'node:process'

/** What the server does with the bytes: sends them back, or answers each line with itself. */
export const mode = process.argv[2] as 'echo' | 'lines'

/** Tells the benchmark the port, answers its questions for memory, and ends when the benchmark ends. */
export function ready(port: number): void {
  process.stdin.setEncoding('utf8')
  process.stdin.on('data', () => {
    const collect = (globalThis as { gc?: () => void }).gc
    collect?.()
    collect?.()
    const { heapUsed, heapTotal, external } = process.memoryUsage()
    say({ heapUsed, heapTotal, external })
  })
  process.stdin.on('end', () => process.exit(0))
  say({ port })
}

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
