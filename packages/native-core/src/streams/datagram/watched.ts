// A channel's socket on Node's loop: what the parts of a channel share. It knows when the socket is ready, but neither what
// is received nor what is sent.
//
// Invariant: as long as it is open, the socket is watched, or has hung up and gets turns when `want` asks for them; and the
// process stays alive unless `unref` was called. From `close` on there are no events, turns and timers, and the descriptor
// has been closed, or released if other code had closed it before. Events, turns, timers and the handlers run
// in the async context that made the channel. Errors are reported after the current work, never during it.
import { AsyncResource } from 'node:async_hooks'
import type { SocketAddress } from '../../address.js'
import { errno } from '../../errno.js'
import { SystemError } from '../../error.js'
import { closeQuietly, setNonBlocking } from '../../fd.js'
import { getOption } from '../../option.js'
import { SO_DOMAIN, SO_TYPE } from '../../options/socket.js'
import { orUndefined } from '../../quietly.js'
import type { Socket } from '../../socket.js'
import { type Watch, watch } from '../../watch.js'
import type { FailedDatagram } from './types.js'

/** The functions that a `WatchedSocket` calls. */
export interface WatchedCalls {
  /** The socket is ready for some of these events. */
  ready(events: number): void
  /** A turn that `want` or `takeTurn` has asked for. */
  turn(): void
  /** The handler of the channel. */
  error(error: SystemError, failed?: FailedDatagram): void
  /**
   * Other code has closed the socket, and `error` will be called. Must call `close`. Unlike the others, it runs during the
   * call that noticed it, in the async context of that call's caller.
   */
  lost(error: SystemError): void
}

export class WatchedSocket<Address extends SocketAddress = SocketAddress> {
  readonly socket: Socket<Address>
  /** `AF_…` */
  readonly domain: number
  /** `SOCK_…` */
  readonly type: number
  readonly #calls: WatchedCalls
  readonly #watch: Watch
  readonly #timers = new Set<NodeJS.Timeout>()
  #turn: NodeJS.Immediate | undefined
  #hungUp = false
  #closed = false
  #referenced = true
  // A timer may be set in the context of a caller of `send` or `resume`.
  readonly #context = new AsyncResource('LinuxSocketsDatagrams')

  /** @throws SystemError; the caller then still owns the socket */
  constructor(socket: Socket<Address>, events: number, calls: WatchedCalls) {
    this.socket = socket
    this.#calls = calls
    this.domain = getOption(socket, SO_DOMAIN)
    this.type = getOption(socket, SO_TYPE)
    setNonBlocking(socket)
    this.#watch = watch(socket, events, (came) => calls.ready(came), { ended: () => this.#lose('epoll_wait') })
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Whether `hangUp` was called: the socket has no more events. */
  get hungUp(): boolean {
    return this.#hungUp
  }

  /** Ends the watch: `EPOLLHUP` can't be masked, and would be reported forever. */
  hangUp(): void {
    this.#hungUp = true
    this.#watch.stop()
  }

  /** Waits for these events, too. */
  want(events: number): void {
    if (this.#hungUp) this.takeTurn()
    else this.#await(this.#watch.events | events)
  }

  unwant(events: number): void {
    this.#await(this.#watch.events & ~events)
  }

  /** Calls `turn` in the next turn of the loop. */
  takeTurn(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined
      this.#context.runInAsyncScope(() => this.#calls.turn())
    })
  }

  /** Calls `task` after `delay` **milliseconds**, unless the returned function is called before. */
  after(delay: number, task: () => void): () => void {
    const stop = () => {
      clearTimeout(timer)
      this.#timers.delete(timer)
    }
    const timer = setTimeout(() => {
      stop()
      this.#context.runInAsyncScope(task)
    }, delay)
    this.#timers.add(timer)
    if (!this.#referenced) timer.unref()
    return stop
  }

  /** Calls `task` once the current work is done. */
  afterwards(task: () => void): void {
    process.nextTick(() => this.#context.runInAsyncScope(task))
  }

  /** Calls a handler. An exception that it throws is uncaught, and doesn't disturb the work that called it. */
  call(handler: () => void): void {
    try {
      handler()
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }

  report(error: SystemError, failed?: FailedDatagram): void {
    this.afterwards(() => this.#calls.error(error, failed))
  }

  /** Calls `call` and returns its result; undefined if the call failed, after the error was reported. */
  ask<T>(call: () => T): T | undefined {
    try {
      return call()
    } catch (error) {
      if (!(error instanceof SystemError)) throw error
      if (!this.loseIfClosed(error)) this.report(error)
      return undefined
    }
  }

  /**
   * Ends the channel if other code has closed the socket. Only the socket itself tells: an `EBADF` may be that of something
   * else, such as a passed descriptor.
   */
  loseIfClosed(error?: SystemError): boolean {
    if (error !== undefined && error.code !== 'EBADF' && error.code !== 'ENOTSOCK') return false
    if (isSocket(this.socket)) return false
    this.#lose(error?.syscall ?? 'getsockopt')
    return true
  }

  ref(): void {
    this.#referenced = true
    this.#watch.ref()
    for (const timer of this.#timers) timer.ref()
  }

  unref(): void {
    this.#referenced = false
    this.#watch.unref()
    for (const timer of this.#timers) timer.unref()
  }

  close(): void {
    this.#closed = true
    // If other code has closed the descriptor, its number may belong to another file by now.
    if (!isSocket(this.socket)) this.socket.release()
    this.#watch.stop()
    for (const timer of this.#timers) clearTimeout(timer)
    clearImmediate(this.#turn)
    closeQuietly(this.socket)
  }

  #await(events: number): void {
    try {
      this.#watch.modify(events)
    } catch {
      this.#lose('epoll_ctl')
    }
  }

  /** The number may be another file's by now, so the errno of the call that noticed it varies. */
  #lose(syscall: string): void {
    if (this.#closed) return
    const error = new SystemError(errno.EBADF, syscall, 'closed while the channel was open')
    this.report(error)
    this.#calls.lost(error)
  }
}

function isSocket(socket: Socket): boolean {
  return orUndefined(() => getOption(socket, SO_TYPE)) !== undefined
}
