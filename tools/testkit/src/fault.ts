import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.js'

/**
 * Calls `action` while strace(1) makes system calls of this thread fail. Returns the outcome of `action` and the number of
 * calls that failed. A fault has the syntax of strace's `--inject`: `'socket:error=EMFILE:when=1'`. Calls are counted from
 * the start of the action, including those that Node itself makes on this thread.
 */
export async function withFault<T>(
  fault: string,
  action: () => T | Promise<T>,
): Promise<{ outcome: PromiseSettledResult<T>; injected: number }> {
  const log = join(temporaryDirectory(), 'strace')
  const [syscall] = fault.split(':') as [string]
  const thread = readlinkSync('/proc/thread-self').split('/').at(-1) as string
  // Stays open while strace is attached, so that none of our own open(2) and close(2) calls is traced.
  const seen = openSync(log, 'w+')
  const args = ['-qq', '-o', log, '-e', `trace=${syscall},geteuid`, '-e', `inject=${fault}`, '-p', thread]
  const tracer = spawn('strace', args, { stdio: 'ignore' })
  const ended = once(tracer, 'close')
  try {
    // This thread may run nothing else between the attaching and the action. It isn't enough to wait until strace is
    // attached: strace sees the first calls only some time later.
    for (let wait = 0; readSync(seen, oneByte) === 0; wait++) {
      if (wait === 60_000) throw new Error('strace did not attach')
      process.geteuid?.()
      Atomics.wait(pause, 0, 0, 1)
    }
    const [outcome] = await Promise.allSettled([(async () => action())()])
    tracer.kill()
    await ended
    return { outcome, injected: readFileSync(log, 'utf8').split('(INJECTED)').length - 1 }
  } finally {
    tracer.kill()
    closeSync(seen)
  }
}

const oneByte = Buffer.alloc(1)
const pause = new Int32Array(new SharedArrayBuffer(4))
