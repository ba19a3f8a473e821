/** How a server in JavaScript talks with the benchmark: on any of the runtimes. */
import process from 'node:process'
import { getHeapStatistics } from 'node:v8'

/** What the server does with the bytes: sends them back, or answers each line with itself. */
export const mode = process.argv[2] as 'echo' | 'lines'

/** Of a proxy, the port of what is behind it; of a server of files, a path. */
export const argument = process.argv[3] as string

/** **Bytes** that ask for a file. */
export const REQUEST = 64

/** Tells the benchmark the port, answers its questions for memory, and ends when the benchmark ends. */
export function ready(port: number): void {
  process.stdin.setEncoding('utf8')
  process.stdin.on('data', () => {
    // What the first collection finalizes, the second frees.
    collect()
    setTimeout(() => {
      collect()
      say(
        isBun() ? {} : { heapUsed: process.memoryUsage().heapUsed, heapHeld: getHeapStatistics().total_physical_size },
      )
    }, 50)
  })
  process.stdin.on('end', () => process.exit(0))
  say({ port })
}

function collect(): void {
  const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(wait: boolean): void } }
  if (Bun === undefined) gc?.()
  else Bun.gc(true)
}

/** Its heap isn't V8's, and isn't told from its other memory. */
function isBun(): boolean {
  return 'Bun' in globalThis
}

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
