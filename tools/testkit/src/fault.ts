import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.js'

/**
 * Calls `action` while strace(1) makes system calls of this very thread fail, and returns what `action` does and how
 * many calls have failed. A fault is what `--inject` takes: `'socket:error=EMFILE:when=1'`. The counting begins with the
 * action; calls that Node itself makes on this thread count too.
 */
export async function withFault<T>(
  fault: string,
  action: () => T | Promise<T>,
): Promise<{ outcome: PromiseSettledResult<T>; injected: number }> {
  const log = join(temporaryDirectory(), 'strace')
  const [syscall] = fault.split(':') as [string]
  const thread = readlinkSync('/proc/thread-self').split('/').at(-1) as string
  // Open all the time, so that no open(2) or close(2) of ours is traced.
  const status = openSync(`/proc/self/task/${thread}/status`, 'r')
  const args = ['-qq', '-o', log, '-e', `trace=${syscall}`, '-e', `inject=${fault}`, '-p', thread]
  const tracer = spawn('strace', args, { stdio: 'ignore' })
  const ended = once(tracer, 'close')
  try {
    // Nothing else of this thread may run between the attaching and the action.
    for (let wait = 0; tracerIn(status) !== tracer.pid; wait++) {
      if (wait === 5000) throw new Error('strace did not attach')
      Atomics.wait(pause, 0, 0, 1)
    }
    const [outcome] = await Promise.allSettled([(async () => action())()])
    tracer.kill()
    await ended
    return { outcome, injected: readFileSync(log, 'utf8').split('(INJECTED)').length - 1 }
  } finally {
    tracer.kill()
    closeSync(status)
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4))

function tracerIn(status: number): number {
  const text = Buffer.alloc(4096)
  const length = readSync(status, text, 0, text.length, 0)
  const [, pid] = /^TracerPid:\t(\d+)/m.exec(text.toString('latin1', 0, length)) as string[]
  return Number(pid)
}
