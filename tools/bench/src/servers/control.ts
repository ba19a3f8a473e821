/** Communication of a server in JavaScript, on any of the runtimes, with the benchmark. */
import process from 'node:process'
import { getHeapStatistics } from 'node:v8'

/** The task of the server: to send all bytes back, or to answer each line with itself. */
export const mode = process.argv[2] as 'echo' | 'lines'

/** For a proxy, the port of the backend; for a file server, the path of the file. */
export const argument = process.argv[3] as string

/** **Bytes** of a request for a file. */
export const REQUEST = 64

/** Tells the benchmark the port, answers its questions for memory, and ends when the benchmark ends. */
export function ready(port: number): void {
  process.stdin.setEncoding('utf8')
  process.stdin.on('data', () => {
    // The second collection frees the memory of objects that the first one finalized.
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

/** Bun's heap isn't V8's, and can't be told apart from its other memory. */
function isBun(): boolean {
  return 'Bun' in globalThis
}

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
