// A relay: the promise that the caller gets, which owns both connections and runs the two flows.
//
// Invariant: from its start until #over, the relay owns both connections, and the pool of pipes knows of it. A relay that has
// started calls #close exactly once, which stops all gates before it closes anything; then the promise settles. After each
// step of a flow the gates are armed for what the flows wait for.
import { AsyncResource } from 'node:async_hooks'
import { errno, type FdLike, getOption, type Socket, SystemError, setNonBlocking } from '@linux-sockets/native-core'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '@linux-sockets/native-core/constants'
import {
  checkDrainOptions,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkSocket,
  closeQuietly,
  dropNotices,
  fdOf,
  type NamesOf,
  onAbort,
  orUndefined,
  resetOnClose,
} from '@linux-sockets/native-core/internal'
import { SO_ERROR } from '@linux-sockets/native-core/options'
import { type DrainOptions, SocketStream } from '@linux-sockets/native-core/streams'
import { End, type Side } from './relay/end.js'
import { Flow } from './relay/flow.js'
import { Gate } from './relay/gate.js'
import { releasePipes, retainPipes } from './relay/pipe.js'
import type { Relay, RelayError, Relayed, RelayOptions, RelayProgress } from './relay/types.js'

/**
 * Passes the bytes of each of two connections to the other, until both have ended. Resolves to the bytes passed each way.
 *
 *     const upstream = await connect(address, { stream: { allowHalfOpen: true } })
 *     const { aToB, bToA } = await relay(client, upstream)
 *
 * The returned promise also counts the bytes while the relay runs, and has `drain` to end it.
 *
 *     const relaying = relay(client, upstream)
 *     setInterval(() => console.log(relaying.aToB, relaying.bToA), 1000).unref()
 *     process.once('SIGTERM', () => relaying.drain({ timeout: 5000 }))
 *
 * The relay takes over both connections, and closes them in every case; a `SocketStream` is destroyed. An end is passed on
 * as an end (`SHUT_WR`), after all bytes that came before it, and the other direction goes on. A failure is passed on as a
 * reset of both, so that no peer takes truncated data for complete data; the promise then rejects, and the error has the
 * counts.
 *
 * Both must be connected stream sockets of TCP or AF_UNIX. The relay makes them non-blocking, which every other holder of
 * the same open file sees. It does not pass on urgent data and descriptors. Bytes that a `SocketStream` has read and no
 * reader has taken are passed on first. Open the stream with `allowHalfOpen`: otherwise an end of the peer that arrives
 * before the relay has started makes the stream end, too.
 *
 * Small amounts are read and written, through memory that all relays of a thread share. While a direction has more data, or
 * if it has a tap, it uses a pipe: splice(2) moves the bytes through it without bringing them into the process. If no pipe
 * is available, the direction goes on without one, unless it has a tap. A few empty pipes are kept while there are relays.
 * Each direction holds at most as much as a pipe does, and moves about 1 MiB before other sockets get their turn.
 *
 * @throws SystemError (`RelayError`) `ECONNRESET`, `EPIPE`, `ETIMEDOUT`, … of either connection; `ETIMEDOUT` after
 * `idleTimeout`, or the `timeout` of `drain`; `EBADF` if a socket is closed meanwhile; the error with which a stream is
 * destroyed meanwhile, or else `ECANCELED`; `EPIPE` if a stream has already ended or is destroyed; the errors of a tap;
 * with a tap, `EMFILE`
 * @throws TypeError, RangeError for invalid arguments; the caller then still owns the sockets
 * @see {@link https://man7.org/linux/man-pages/man2/splice.2.html splice(2)}
 */
export function relay(a: Socket | SocketStream, b: Socket | SocketStream, options: RelayOptions = {}): Relay {
  return new Relaying(a, b, options)
}

class Relaying extends Promise<Relayed> implements Relay {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  readonly #settle: Settle
  #ends: readonly End[] = []
  #aToB: Flow | undefined
  #bToA: Flow | undefined
  #gates: Gate[] = []
  #over = false
  #draining = false
  #onProgress: ((progress: RelayProgress) => void) | undefined
  #idle: NodeJS.Timeout | undefined
  #limit: NodeJS.Timeout | undefined
  #ignoreSignal: (() => void) | undefined

  constructor(a: Socket | SocketStream, b: Socket | SocketStream, options: RelayOptions) {
    let settle: Settle | undefined
    super((resolve, reject) => {
      settle = { resolve, reject }
    })
    this.#settle = settle as unknown as Settle
    this.#start(a, b, options)
  }

  get aToB(): number {
    return this.#aToB?.given ?? 0
  }

  get bToA(): number {
    return this.#bToA?.given ?? 0
  }

  get held(): number {
    return (this.#aToB?.held ?? 0) + (this.#bToA?.held ?? 0)
  }

  drain(options: DrainOptions = {}): this {
    checkDrainOptions(options)
    const { timeout } = options
    if (this.#over) return this
    if (timeout !== undefined) {
      clearTimeout(this.#limit)
      this.#limit = setTimeout(() => this.#late(`not drained within ${timeout} ms (timeout)`), timeout)
    }
    if (this.#draining) return this
    this.#draining = true
    for (const flow of [this.#aToB, this.#bToA]) {
      if (flow === undefined) continue
      flow.drain()
      this.#step(flow)
    }
    return this
  }

  async #start(a: Socket | SocketStream, b: Socket | SocketStream, options: RelayOptions): Promise<void> {
    try {
      if (!(a instanceof SocketStream)) checkSocket(a, 'a')
      if (!(b instanceof SocketStream)) checkSocket(b, 'b')
      checkOptions(options, 'options', RELAY_OPTIONS)
      const { signal, idleTimeout, onProgress, tap = {} } = options
      checkSignal(signal)
      if (onProgress !== undefined) checkFunction(onProgress, 'onProgress')
      checkOptions(tap, 'tap', { aToB: true, bToA: true })
      if (tap.aToB !== undefined) fdOf(tap.aToB, 'tap.aToB')
      if (tap.bToA !== undefined) fdOf(tap.bToA, 'tap.bToA')
      if (idleTimeout !== undefined) checkInteger(idleTimeout, 1, 0x7fff_ffff, 'idleTimeout')
      if (a === b) throw new TypeError('a relay is between two connections')
    } catch (error) {
      this.#over = true
      this.#settle.reject(error)
      return
    }
    const { signal, idleTimeout, onProgress, tap } = options
    this.#onProgress = onProgress && AsyncResource.bind(onProgress, 'LinuxSocketsRelay')
    const ends = [new End('a', a), new End('b', b)] as const
    this.#ends = ends
    retainPipes()
    if (signal?.aborted) {
      this.#fail(signal.reason)
      return
    }
    this.#ignoreSignal = signal && onAbort(signal, () => this.#fail(signal.reason))
    if (idleTimeout !== undefined) {
      this.#idle = setTimeout(() => this.#late(`idle for ${idleTimeout} ms (idleTimeout)`), idleTimeout)
    }
    try {
      await Promise.all([this.#take(ends[0]), this.#take(ends[1])])
      if (!this.#over) this.#join(...ends, tap ?? {})
    } catch (error) {
      this.#fail(error)
    }
  }

  async #take(end: End): Promise<void> {
    const { side, owner } = end
    if (!(owner instanceof SocketStream)) {
      this.#attempt(`taking ${side} over`, side, () => setNonBlocking(owner))
      end.socket = owner
      return
    }
    if (!owner.writable) throw this.#error(errno.EPIPE, 'send', `writing to ${side}, which has ended`, side)
    owner.on('close', () => this.#lose(end))
    try {
      const ready = (events: number) => end.ready(events)
      const { socket, unread, watch } = await owner.surrender(ready, { ended: () => this.#lose(end) })
      end.socket = socket
      end.unread = unread
      end.watch = watch?.ref()
    } catch (error) {
      throw owner.destroyed ? this.#lost(end) : error
    }
  }

  #join(a: End, b: End, tap: NonNullable<RelayOptions['tap']>): void {
    const aToB = new Flow(a, b, tap.aToB)
    const bToA = new Flow(b, a, tap.bToA)
    this.#aToB = aToB
    this.#bToA = bToA
    this.#gates = [this.#gateOf(a, aToB, bToA), this.#gateOf(b, bToA, aToB)]
    for (const flow of [aToB, bToA]) {
      const { tap } = flow
      if (tap === undefined) continue
      this.#attempt(`taking ${flow.tapName} over`, undefined, () => setNonBlocking(tap))
      this.#gates.push(this.#gateOfTap(flow, tap))
    }
    for (const flow of [aToB, bToA]) {
      if (this.#draining) flow.drain()
      this.#step(flow)
    }
  }

  #step(flow: Flow): void {
    if (this.#over || flow.over) return
    const before = flow.taken + flow.given
    let failure: unknown
    try {
      flow.turn()
    } catch (error) {
      failure = error
    }
    try {
      if (flow.taken + flow.given !== before) this.#moved()
    } catch (error) {
      this.#fail(error)
    }
    if (this.#over) return
    if (failure !== undefined) this.#fail(this.#explain(failure, flow))
    else if (this.#aToB?.over && this.#bToA?.over) this.#finish()
    else this.#arm()
  }

  #moved(): void {
    this.#idle?.refresh()
    const { aToB, bToA, held } = this
    this.#onProgress?.({ aToB, bToA, held })
  }

  #arm(): void {
    try {
      for (const gate of this.#gates) gate.arm()
    } catch (error) {
      this.#fail(this.#own(error, 'waiting'))
    }
  }

  #gateOf(end: End, from: Flow, to: Flow): Gate {
    const socket = end.socket as Socket
    const gate = new Gate(
      socket,
      () => (from.needsInput ? EPOLLIN : 0) | (to.needsRoom ? EPOLLOUT : 0),
      (events) => {
        const broken = (events & (EPOLLERR | EPOLLHUP)) !== 0
        // An unread error queue would wake the loop forever.
        if ((events & (EPOLLERR | EPOLLHUP)) === EPOLLERR) orUndefined(() => dropNotices(socket))
        const waited = from.needsInput || to.needsRoom
        if (from.needsInput && (broken || (events & EPOLLIN) !== 0)) this.#step(from)
        if (to.needsRoom && (broken || (events & EPOLLOUT) !== 0)) this.#step(to)
        // A flow that waited has met the failure. Otherwise no flow would notice it until the other socket moves, if ever.
        if (!broken || waited) return
        const failure = socket.closed ? 0 : getOption(socket, SO_ERROR)
        const what = from.over ? `writing to ${end.side}` : `reading from ${end.side}`
        if (failure !== 0) this.#fail(this.#error(failure, 'recv', what, end.side))
        else gate.stop()
      },
      () => this.#lose(end),
      end.watch,
    )
    end.ready = gate.ready
    return gate
  }

  /** A tap that fails while its flow doesn't wait for it makes the next splice fail. */
  #gateOfTap(flow: Flow, tap: FdLike): Gate {
    const gate = new Gate(
      tap,
      () => (flow.needsTapRoom ? EPOLLOUT : 0),
      () => (flow.needsTapRoom ? this.#step(flow) : gate.stop()),
      () => this.#fail(this.#error(errno.EBADF, 'relay', `${flow.tapName} was closed`)),
    )
    return gate
  }

  #finish(): void {
    const { aToB, bToA } = this
    this.#close(false)
    this.#settle.resolve({ aToB, bToA })
  }

  #fail(error: unknown): void {
    if (this.#over) return
    this.#close(true)
    this.#settle.reject(error)
  }

  #close(withReset: boolean): void {
    this.#over = true
    clearTimeout(this.#idle)
    clearTimeout(this.#limit)
    this.#ignoreSignal?.()
    for (const gate of this.#gates) gate.stop()
    this.#aToB?.close()
    this.#bToA?.close()
    for (const { owner } of this.#ends) {
      // Other code may have closed it: the remaining steps run in any case.
      if (withReset) resetOnClose(owner)
      if (owner instanceof SocketStream) owner.destroy()
      else closeQuietly(owner)
    }
    releasePipes()
  }

  #late(why: string): void {
    this.#fail(this.#error(errno.ETIMEDOUT, 'relay', why))
  }

  #lose(end: End): void {
    if (!this.#over) this.#fail(this.#lost(end))
  }

  /** The error for an end that other code closed. */
  #lost({ side, owner }: End): unknown {
    if (!(owner instanceof SocketStream && owner.destroyed)) {
      return this.#error(errno.EBADF, 'relay', `${side} was closed`, side)
    }
    const reason = owner.errored as Partial<SystemError> | null
    // Since Node 22 the reason is ECANCELED if a write was dropped.
    if (reason !== null && reason.code !== 'ECANCELED') return reason
    return this.#error(errno.ECANCELED, 'relay', `${side} was destroyed`, side)
  }

  #explain(error: unknown, { at, from, to, tapName }: Flow): unknown {
    if ((error as SystemError).code === 'EBADF') {
      const destroyed = this.#ends.find(({ owner }) => owner instanceof SocketStream && owner.destroyed)
      if (destroyed !== undefined) return this.#lost(destroyed)
    }
    switch (at) {
      case 'source':
        return this.#own(error, `reading from ${from}`, from)
      case 'sink':
        return this.#own(error, `writing to ${to}`, to)
      case 'tap':
        return this.#own(error, `writing to ${tapName}`)
      case 'pipe':
        return this.#own(error, `on the way from ${from} to ${to}`)
    }
  }

  #attempt(what: string, side: Side | undefined, step: () => void): void {
    try {
      step()
    } catch (error) {
      throw this.#own(error, what, side)
    }
  }

  /** Adds the side and the counts to the error of a system call. */
  #own(error: unknown, what: string, side?: Side): unknown {
    return error instanceof SystemError ? this.#error(error.errno, error.syscall, what, side) : error
  }

  #error(number: number, syscall: string, what: string, side?: Side): RelayError {
    const { aToB, bToA, held } = this
    const passed = `bytes: ${aToB} from a to b, ${bToA} from b to a, ${held} held`
    return Object.assign(new SystemError(number, syscall, `${what}; ${passed}`), { side, aToB, bToA, held })
  }
}

interface Settle {
  readonly resolve: (relayed: Relayed) => void
  readonly reject: (error: unknown) => void
}

const RELAY_OPTIONS: NamesOf<RelayOptions> = { signal: true, idleTimeout: true, onProgress: true, tap: true }
