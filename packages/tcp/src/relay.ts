import { AsyncResource } from 'node:async_hooks'
import {
  errno,
  type FdLike,
  fcntl,
  getOption,
  ioctl,
  type OwnedFd,
  pipe,
  type Socket,
  SystemError,
  setNonBlocking,
  splice,
  tee,
  type Watch,
  watch,
  writev,
} from '@linux-sockets/native-core'
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  F_SETPIPE_SZ,
  SHUT_WR,
  SIOCATMARK,
  SPLICE_F_NONBLOCK,
} from '@linux-sockets/native-core/constants'
import {
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
import { SocketStream } from '@linux-sockets/native-core/streams'
import { checkDrainOptions, type DrainOptions } from './listen.js'

/** Options of `relay`. */
export interface RelayOptions {
  /** Aborts the relay: the promise rejects at once with the signal's reason, and both connections are reset. */
  readonly signal?: AbortSignal | undefined
  /**
   * The relay fails with `ETIMEDOUT` if no byte moves in either direction for this many **milliseconds**, at least 1.
   * Default: it waits for ever.
   */
  readonly idleTimeout?: number | undefined
  /** Called whenever bytes have moved, with a new object each time. If it throws, the relay ends with that error. */
  readonly onProgress?: ((progress: RelayProgress) => void) | undefined
  /**
   * tee(2): the descriptors that get a copy of the bytes of each direction. A tap is a pipe or a socket, or a file that
   * isn't open for appending; it stays open, and is made non-blocking. A slow tap slows down its direction: nothing is left
   * out. If a tap fails, the relay fails.
   */
  readonly tap?: { readonly aToB?: FdLike | undefined; readonly bToA?: FdLike | undefined } | undefined
}

/** The bytes passed in each direction. */
export interface Relayed {
  /** **Bytes** that came from `a` and that `b` has taken. */
  readonly aToB: number
  /** **Bytes** that came from `b` and that `a` has taken. */
  readonly bToA: number
}

/** The bytes passed in each direction, and those still held. */
export interface RelayProgress extends Relayed {
  /** **Bytes** taken from one side that the other hasn't taken yet. If the relay fails, they are lost. */
  readonly held: number
}

/** A running relay, returned by `relay`: a promise of the final counts, which also has the current counts. */
export interface Relay extends Promise<Relayed>, RelayProgress {
  /**
   * Ends both connections without a failure: takes no further bytes from either, delivers what is held, and then sends an
   * end on both connections. The relay reads and drops what the peers still send until their own ends come: closing earlier
   * would reset the connections, and the peers could lose what was delivered. Returns the relay itself, which settles as
   * usual.
   *
   * A peer can't tell such an end from one that the other peer sent. If that must not happen, abort by `signal`.
   * @throws TypeError, RangeError for an invalid timeout; the relay then goes on
   */
  drain(options?: DrainOptions): Relay
}

/** The error with which a relay rejects if it fails by itself. */
export interface RelayError extends SystemError, RelayProgress {
  /** The connection that failed; undefined if neither did: a timeout, a tap, a limit of descriptors. */
  readonly side: 'a' | 'b' | undefined
}

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
 * reader has taken are passed on first. Open the stream with `allowHalfOpen`: otherwise it answers an end by itself if that
 * comes before the relay.
 *
 * Small amounts are read and written, through memory that all relays of a thread share. A direction with more data, or with
 * a tap, gets a pipe for that time, and splice(2) then moves the bytes without bringing them into the process. If no pipe
 * is available, the direction goes on without one, unless it has a tap. A few empty pipes are kept while there are relays.
 * Each direction holds at most as much as a pipe does, and moves about 1 MiB before other sockets get their turn.
 *
 * @throws SystemError (`RelayError`) `ECONNRESET`, `EPIPE`, `ETIMEDOUT`, … of either connection; `ETIMEDOUT` after
 * `idleTimeout`, or the `timeout` of `drain`; `EBADF` if a socket is closed meanwhile; the error with which a stream is
 * destroyed meanwhile, or else `ECANCELED`; `EPIPE` if a stream has already ended or is destroyed; the errors of a tap;
 * with a tap, `EMFILE`
 * @throws TypeError, RangeError for invalid arguments; the sockets then stay yours
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
    openRelays++
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
        // An unread error queue would wake the loop for ever.
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
    if (--openRelays === 0) for (const pipe of spare.splice(0)) closePipe(pipe)
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

type Side = 'a' | 'b'

/** One of the two connections. */
class End {
  readonly side: Side
  /** The argument of `relay`. */
  readonly owner: Socket | SocketStream
  /** Undefined until the relay has taken it over. */
  socket: Socket | undefined
  /** Bytes that a stream had read before the relay took it over. */
  unread: Uint8Array = NOTHING
  /** The stream's watch, if it had one. */
  watch: Watch | undefined
  /**
   * The callback of `watch`. Until both ends are taken over, it can only stop: the same events would come again and again.
   */
  ready = (_events: number): void => {
    this.watch?.stop()
    this.watch = undefined
  }

  constructor(side: Side, owner: Socket | SocketStream) {
    this.side = side
    this.owner = owner
  }
}

/** One direction: from one socket to the other, through memory or through a pipe. */
class Flow {
  readonly from: Side
  readonly to: Side
  readonly tap: FdLike | undefined
  /** **Bytes** taken from the source, and **bytes** given to the sink. */
  taken: number
  given = 0
  /** Whether the end has been passed on, and the source has ended. */
  over = false
  /** The conditions that the next turn waits for. */
  needsInput = true
  needsRoom = false
  needsTapRoom = false
  /** Where the current step may fail. */
  at: 'source' | 'sink' | 'tap' | 'pipe' = 'source'

  readonly #source: Socket
  readonly #sink: Socket
  #draining = false
  #endPassed = false
  /** The bytes to deliver before those still in the source, from `#restAt` to `#restEnd`. */
  #rest: Uint8Array
  #restAt = 0
  #restEnd: number
  /** **Bytes** that recently came in large pieces: after enough of them the direction gets a pipe. */
  #earned = 0
  /** Held only while there are bytes in it, and during a turn. */
  #pipe: Pipe | undefined
  #copy: Pipe | undefined
  /** **Bytes** in the pipe, those of them that may go to the sink, and those that the tap hasn't taken yet. */
  #inPipe = 0
  #passable = 0
  #copied = 0

  constructor(from: End, to: End, tap: FdLike | undefined) {
    this.from = from.side
    this.to = to.side
    this.tap = tap
    this.#source = from.socket as Socket
    this.#sink = to.socket as Socket
    this.#rest = from.unread
    this.#restEnd = this.taken = from.unread.length
  }

  get held(): number {
    return this.taken - this.given
  }

  get tapName(): string {
    return `tap.${this.from}To${this.to.toUpperCase()}`
  }

  /** Takes no further bytes, and sends the end after what is held. */
  drain(): void {
    this.#draining = true
  }

  /** Moves bytes, up to a limit, and sets the conditions to wait for. */
  turn(): void {
    this.needsInput = this.needsRoom = this.needsTapRoom = false
    for (let left = PER_TURN; this.#deliver(); ) {
      const hasRest = this.#restAt < this.#restEnd
      if (this.#draining && !hasRest) {
        this.#dropToEnd()
        break
      }
      const count = left > 0 || hasRest ? this.#take() : null
      if (count === null) this.needsInput = true
      if (count === 0) {
        this.#passEnd()
        this.over = true
      }
      if (!count) break
      // A count below the requested one means that the source is empty.
      left = this.#rest === slab && count < SLAB_SIZE ? 0 : left - count
    }
    this.#leaveSlab()
    this.#leavePipes()
  }

  close(): void {
    this.#leavePipes()
    for (const pipe of [this.#pipe, this.#copy]) if (pipe !== undefined) closePipe(pipe)
  }

  /** Takes bytes from the source. Returns their number, `null` if there are none, 0 at the end. */
  #take(): number | null {
    if (this.#usesPipe()) return this.#fill(this.#pipe as Pipe)
    this.at = 'source'
    slab ??= Buffer.allocUnsafeSlow(SLAB_SIZE)
    const count = this.#source.recv(slab)
    if (count) this.#hold(slab, count)
    return count
  }

  /** Whether the next bytes go through a pipe, which is then open. A tap needs one. */
  #usesPipe(): boolean {
    if (this.tap === undefined && this.#earned < PRICE) return false
    this.at = 'pipe'
    try {
      this.#pipe ??= takePipe()
      return true
    } catch (error) {
      if (this.tap !== undefined) throw error
      this.#earned = 0
      return false
    }
  }

  /**
   * Moves bytes into the empty pipe. If the pipe held bytes, EAGAIN would not tell which side it is about: a pipe is full
   * when it holds a certain number of pieces of any size.
   */
  #fill(pipe: Pipe): number | null {
    if (this.#restAt < this.#restEnd) {
      const count = writev(pipe.write, [this.#rest.subarray(this.#restAt, this.#restEnd)]) ?? 0
      this.#inPipe += count
      this.#restAt += count
      return count
    }
    this.at = 'source'
    const count = splice(this.#source, pipe.write, PER_TURN, SPLICE_F_NONBLOCK)
    if (!count) return isAtMark(this.#source) ? this.#stepOverMark() : count
    this.#inPipe += count
    this.taken += count
    this.#earn(count)
    return count
  }

  /** At urgent data splice(2) reports EAGAIN, or even the end, whatever bytes come after it. */
  #stepOverMark(): number | null {
    const behind = Buffer.allocUnsafe(4096)
    const count = this.#source.recv(behind)
    if (count) this.#hold(behind, count)
    return count
  }

  #hold(bytes: Uint8Array, count: number): void {
    this.#rest = bytes
    this.#restAt = 0
    this.#restEnd = count
    this.taken += count
    this.#earn(count)
  }

  #earn(count: number): void {
    this.#earned = count < LARGE ? 0 : this.#earned + count
  }

  /** Delivers what is held. Returns whether nothing is left, except bytes that must go through a pipe to the tap. */
  #deliver(): boolean {
    if (this.#restAt < this.#restEnd && this.tap === undefined) {
      this.at = 'sink'
      const count = this.#sink.send(this.#rest, 0, this.#restAt, this.#restEnd - this.#restAt) ?? 0
      this.#restAt += count
      this.given += count
      this.needsRoom = this.#restAt < this.#restEnd
      if (this.needsRoom) return false
      this.#rest = NOTHING
      this.#restAt = this.#restEnd = 0
    }
    while (this.#inPipe > 0 || this.#copied > 0) {
      if (this.#passable === 0 && this.#copied === 0) this.#duplicate()
      this.#pass()
      this.#passToTap()
      if (this.needsRoom || this.needsTapRoom) return false
    }
    return true
  }

  /**
   * tee(2) always begins with the first byte in the pipe, so the sink and the tap must have all copied bytes before the
   * next tee.
   */
  #duplicate(): void {
    this.#passable = this.#inPipe
    if (this.tap === undefined) return
    this.at = 'pipe'
    this.#copy ??= takePipe()
    const { read } = this.#pipe as Pipe
    this.#copied = this.#passable = tee(read, this.#copy.write, this.#inPipe, SPLICE_F_NONBLOCK) ?? 0
    this.needsTapRoom = this.#copied === 0
  }

  #pass(): void {
    if (this.#passable === 0) return
    this.at = 'sink'
    const { read } = this.#pipe as Pipe
    const count = splice(read, this.#sink, this.#passable, SPLICE_F_NONBLOCK) ?? 0
    this.#passable -= count
    this.#inPipe -= count
    this.given += count
    this.needsRoom = this.#passable > 0
  }

  #passToTap(): void {
    if (this.#copied === 0 || this.#copy === undefined || this.tap === undefined) return
    this.at = 'tap'
    let count: number | null
    do {
      count = splice(this.#copy.read, this.tap, this.#copied, SPLICE_F_NONBLOCK)
      this.#copied -= count ?? 0
    } while (count !== null && this.#copied > 0)
    // Unlike above, not after a part: a file takes everything, and can't be watched.
    this.needsTapRoom = count === null
  }

  #passEnd(): void {
    if (this.#endPassed) return
    this.at = 'sink'
    this.#sink.shutdown(SHUT_WR)
    this.#endPassed = true
  }

  #dropToEnd(): void {
    this.#passEnd()
    this.at = 'source'
    slab ??= Buffer.allocUnsafeSlow(SLAB_SIZE)
    for (let left = PER_TURN; left > 0 && !this.over; ) {
      const count = this.#source.recv(slab)
      if (count === null) break
      this.over = count === 0
      left -= count
    }
    this.needsInput = !this.over
  }

  /** Copies the rest out of the slab, which all relays of the thread share. */
  #leaveSlab(): void {
    if (this.#rest !== slab) return
    this.#rest = Buffer.from(slab.subarray(this.#restAt, this.#restEnd))
    this.#restAt = 0
    this.#restEnd = this.#rest.length
  }

  #leavePipes(): void {
    if (this.#pipe !== undefined && this.#inPipe === 0) {
      leavePipe(this.#pipe)
      this.#pipe = undefined
    }
    if (this.#copy !== undefined && this.#copied === 0) {
      leavePipe(this.#copy)
      this.#copy = undefined
    }
  }
}

/** Watches one descriptor for the events that the flows need. It is stopped if an event would be reported for ever. */
class Gate {
  readonly ready: (events: number) => void
  readonly #target: FdLike
  readonly #wants: () => number
  readonly #ended: () => void
  #watch: Watch | undefined

  constructor(
    target: FdLike,
    wants: () => number,
    ready: (events: number) => void,
    ended: () => void,
    watch?: Watch | undefined,
  ) {
    this.ready = ready
    this.#target = target
    this.#wants = wants
    this.#ended = ended
    this.#watch = watch
  }

  arm(): void {
    const wanted = this.#wants()
    if (this.#watch !== undefined) this.#watch.modify(wanted)
    else if (wanted !== 0) this.#watch = watch(this.#target, wanted, this.ready, { ended: this.#ended })
  }

  stop(): void {
    this.#watch?.stop()
    this.#watch = undefined
  }
}

function isAtMark(socket: Socket): boolean {
  try {
    return ioctl(socket, SIOCATMARK) !== 0
  } catch {
    // AF_UNIX on kernels that have no urgent data for it.
    return false
  }
}

interface Pipe {
  readonly read: OwnedFd
  readonly write: OwnedFd
}

/** The number of relays of this thread that aren't over. */
let openRelays = 0

/** Empty pipes, kept while there are relays. */
const spare: Pipe[] = []

function takePipe(): Pipe {
  return spare.pop() ?? largePipe()
}

/** Keeps or closes a pipe that must be empty. */
function leavePipe(pipe: Pipe): void {
  if (spare.length < MOST_SPARE) spare.push(pipe)
  else closePipe(pipe)
}

function closePipe({ read, write }: Pipe): void {
  closeQuietly(read)
  closeQuietly(write)
}

function largePipe(): Pipe {
  const made = pipe()
  try {
    fcntl(made.write, F_SETPIPE_SZ, PIPE_SIZE)
  } catch {
    // Beyond fs.pipe-user-pages-soft a user gets no larger pipes: the default size is used.
  }
  return made
}

const RELAY_OPTIONS: NamesOf<RelayOptions> = { signal: true, idleTimeout: true, onProgress: true, tap: true }

const NOTHING = new Uint8Array(0)

/** The buffer that all relays of a thread read into, in turn. */
let slab: Buffer | undefined

/** The size of the slab, in **bytes**. */
const SLAB_SIZE = 64 * 1024

/** The **bytes** that one direction moves before others get their turn. */
const PER_TURN = 1024 * 1024

/** The size of a piece from which on a pipe is cheaper, in **bytes**. */
const LARGE = 16 * 1024

/** The **bytes** in large pieces after which a direction gets a pipe. */
const PRICE = 128 * 1024

/** The size of a pipe, in **bytes**; the kernel counts in pages, and each piece of a packet takes one page. */
const PIPE_SIZE = 256 * 1024

/** The most empty pipes that are kept. */
const MOST_SPARE = 16
