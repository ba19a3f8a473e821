import { AsyncResource } from 'node:async_hooks'
import { setImmediate } from 'node:timers/promises'
import { inspect, types } from 'node:util'
import {
  encodeAddress,
  errno,
  familyOf,
  formatAddress,
  getOption,
  type InetAddress,
  Socket,
  SystemError,
  type Watch,
  watch,
} from '@linux-sockets/native-core'
import { EPOLLOUT, MSG_FASTOPEN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  addressOf,
  bindToConnect,
  checkBoolean,
  checkBytes,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkStreamOptions,
  closeQuietly,
  type NamesOf,
  onAbort,
  orUndefined,
  refuseSelfConnection,
} from '@linux-sockets/native-core/internal'
import { SO_ERROR } from '@linux-sockets/native-core/options'
import { SocketStream, type SocketStreamOptions } from '@linux-sockets/native-core/streams'
import { type AddressOrText, type InetAddressLike, inetSockaddr, isNew, listOf, readAll } from './addresses.js'

/** Options of `connect`, for its attempts and for the stream. */
export interface ConnectOptions {
  /** Aborts connecting: the promise rejects with the signal's reason, and no socket stays open. */
  readonly signal?: AbortSignal | undefined
  /**
   * The time limit for all attempts together, in **milliseconds**, at least 1. Attempts that still run then fail with
   * `ETIMEDOUT`. Default: only the kernel's own limits.
   */
  readonly timeout?: number | undefined
  /**
   * The time from the start of one attempt to the start of the next, in **milliseconds**, at least 10. When an attempt
   * fails, the next one starts at once. Default 250. RFC 8305, section 5
   */
  readonly attemptDelay?: number | undefined
  /**
   * Whether the address families alternate: the next attempt uses the first address of another family, if there is one. A
   * family whose network is broken then costs one attempt, not one for each of its addresses. False keeps the given order.
   * Default true. RFC 8305, section 4
   */
  readonly interleave?: boolean | undefined
  /**
   * The local address to connect from, or one for each family. With port 0, connect(2) chooses the port
   * (`IP_BIND_ADDRESS_NO_PORT`), so that connections to different peers may share one. An attempt fails if none of these
   * has its family.
   */
  readonly localAddress?: AddressOrText | readonly AddressOrText[] | undefined
  /**
   * Called with the socket of each attempt before it is bound and connected, to set options:
   * `(socket) => setOption(socket, TCP_USER_TIMEOUT, 10_000)`. If it throws, that attempt fails.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /**
   * `MSG_FASTOPEN`: the first **bytes** to send, allowed only with exactly one address. If an earlier connection has
   * brought the peer's cookie, as many of them as fit go with the SYN. The rest is the stream's first write; so are all of
   * them without a cookie, or if `net.ipv4.tcp_fastopen` is off. The peer's program may receive them twice, so choose bytes
   * that do no harm then. They must not change before they are sent. RFC 7413
   */
  readonly fastOpen?: Uint8Array | undefined
  /** Called for each event of an attempt. If it throws, connecting ends, and the promise rejects with that error. */
  readonly onAttempt?: ((attempt: ConnectAttempt) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: TCP. */
  readonly protocol?: number | undefined
  /** Options of the stream. Its `watch` is also used for the attempts. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * An event of an attempt to connect. An attempt that is closed because another one connected first reports no further
 * event.
 */
export type ConnectAttempt =
  | {
      /** `'start'`: the attempt starts. `'win'`: it is the first that is connected. */
      readonly event: 'start' | 'win'
      /** The address of the attempt. */
      readonly address: InetAddressLike
      /** Undefined: these events have no error. */
      readonly error?: undefined
    }
  | {
      /** The attempt has failed. */
      readonly event: 'fail'
      /** The address of the attempt. */
      readonly address: InetAddressLike
      /**
       * The reason: a SystemError, or the value that `prepare` threw. A value that is no Error becomes the `cause` of one.
       */
      readonly error: NodeJS.ErrnoException
    }

/**
 * connect(2): connects to the first address that accepts, and resolves to the stream. The thread is not blocked.
 *
 *     const stream = await connect({ family: 'ipv4', address: '127.0.0.1', port: 8080 }, { timeout: 5000 })
 *
 * An address may be text that `parseAddress` accepts: `connect('127.0.0.1:8080')`. To look up names, use `resolve` of the
 * package `addr`.
 *
 * Addresses are tried in the order of RFC 8305, each once: the first one, and then the families alternate. An attempt
 * starts `attemptDelay` after the previous one, or at once when one fails. All attempts continue until the first of them is
 * connected; the others are then closed. An async iterable may deliver the addresses one by one. It is asked for one
 * address ahead, or for up to 32 until there is one of the other family, and its `return` is called when no further address
 * is needed. A socket that connects to itself counts as refused; this can happen if no socket listens on a port of this
 * host. `TCP_NODELAY` is left off, unlike in `node:http`; to set it, pass
 * `prepare: (socket) => setOption(socket, TCP_NODELAY, true)`.
 *
 * @throws SystemError of the attempt if there was only one: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, …
 * @throws AggregateError with the `errors` of all attempts, and of the iterator, if there were several. Its `code` is that
 * of the first, or `ETIMEDOUT` after `timeout`. The error of each attempt has its `address`, as it was given. It is the
 * attempt's own SystemError; any other value that `prepare` threw is left unchanged, as the `cause` of an Error with the
 * same `code`.
 * @throws TypeError, RangeError if there is no address, or an invalid one; if `fastOpen` is given with more than one; if an
 * option is invalid
 * @see {@link https://www.rfc-editor.org/rfc/rfc8305 RFC 8305}
 */
export async function connect(
  addresses: AddressOrText | Iterable<AddressOrText> | AsyncIterable<AddressOrText>,
  options: ConnectOptions = {},
): Promise<SocketStream<InetAddress>> {
  checkOptions(options, 'options', CONNECT_OPTIONS)
  const { signal, timeout, attemptDelay = 250, interleave, fastOpen, onAttempt, prepare, protocol } = options
  const { stream: streamOptions } = options
  checkSignal(signal)
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  checkInteger(attemptDelay, 10, 0x7fff_ffff, 'attemptDelay')
  const local = options.localAddress === undefined ? [] : readAll(options.localAddress, 'localAddress')
  if (fastOpen !== undefined) checkBytes(fastOpen, 'fastOpen')
  if (onAttempt !== undefined) checkFunction(onAttempt, 'onAttempt')
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  if (protocol !== undefined) checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
  if (streamOptions !== undefined) checkStreamOptions(streamOptions, 'stream')
  if (interleave !== undefined) checkBoolean(interleave, 'interleave')
  const coming = Symbol.asyncIterator in Object(addresses)
  const list = coming ? [] : listOf(addresses as AddressOrText | Iterable<AddressOrText>)
  // With several addresses, several peers could act on the same bytes.
  if (fastOpen !== undefined && list.length !== 1) throw new TypeError('fastOpen takes exactly one address')
  signal?.throwIfAborted()
  const iterator = coming ? (addresses as AsyncIterable<AddressOrText>)[Symbol.asyncIterator]() : undefined
  const { socket, unsent } = await new Promise<Connected>((resolve, reject) => {
    new Race(list, iterator, local, options, attemptDelay, resolve, reject).run()
  })
  const stream = streamOf(socket, streamOptions)
  if (unsent.length > 0) stream.write(unsent)
  return stream
}

const CONNECT_OPTIONS: NamesOf<ConnectOptions> = {
  signal: true,
  timeout: true,
  attemptDelay: true,
  interleave: true,
  localAddress: true,
  prepare: true,
  fastOpen: true,
  onAttempt: true,
  protocol: true,
  stream: true,
}

interface Connected {
  readonly socket: Socket<InetAddress>
  /** The part of `fastOpen` that is not sent yet. */
  readonly unsent: Uint8Array
}

/** An address that waits for its attempt. */
interface Target {
  /** The address as it was given. */
  readonly address: InetAddressLike
  /** Undefined if the address is invalid; its attempt then fails with the reason. */
  readonly sockaddr: Uint8Array | undefined
}

interface Attempt {
  readonly address: InetAddressLike
  readonly sockaddr: Uint8Array
  readonly socket: Socket<InetAddress>
  readonly watch: Watch
}

/** The attempts of one call of `connect`. */
class Race {
  readonly #waiting: Target[]
  readonly #iterator: AsyncIterator<AddressOrText> | undefined
  readonly #local: readonly InetAddressLike[]
  readonly #options: ConnectOptions
  readonly #delay: number
  readonly #resolve: (connected: Connected) => void
  readonly #reject: (error: unknown) => void
  readonly #running = new Set<Attempt>()
  /** All addresses that have arrived, encoded. */
  readonly #known = new Set<string>()
  /** The family of the latest attempt. */
  #family: number | undefined
  #unsent: Uint8Array
  readonly #failures: Failure[] = []
  #settled = false
  /** Whether the next attempt may start as soon as there is an address. */
  #ready = true
  #exhausted: boolean
  #asking = false
  #ignoreSignal: (() => void) | undefined
  #next: NodeJS.Timeout | undefined
  #limit: NodeJS.Timeout | undefined

  constructor(
    list: InetAddressLike[],
    iterator: AsyncIterator<AddressOrText> | undefined,
    local: readonly InetAddressLike[],
    options: ConnectOptions,
    delay: number,
    resolve: (connected: Connected) => void,
    reject: (error: unknown) => void,
  ) {
    this.#waiting = list.map((address) => ({ address, sockaddr: encodeAddress(address) }))
    this.#iterator = iterator
    this.#local = local
    this.#exhausted = iterator === undefined
    this.#options = options
    this.#unsent = options.fastOpen ?? new Uint8Array()
    this.#delay = delay
    this.#resolve = resolve
    this.#reject = reject
  }

  run(): void {
    const { signal, timeout } = this.#options
    // The iterable may have aborted when it was asked for its iterator.
    if (signal?.aborted) {
      this.#fail(signal.reason)
      return
    }
    if (timeout !== undefined) this.#limit = setTimeout(() => this.#expire(), timeout)
    if (signal !== undefined) {
      // The signal may be aborted in another async context, but the iterator's `return` must run in the caller's.
      const context = new AsyncResource('LinuxSocketsConnect')
      this.#ignoreSignal = onAbort(signal, () => context.runInAsyncScope(this.#fail, this, signal.reason))
    }
    this.#proceed()
  }

  #proceed(): void {
    while (!this.#settled && this.#ready && this.#waiting.length > 0) this.#start(this.#takeNext())
    if (this.#settled) return
    if (this.#wantsMore()) void this.#ask()
    else if (this.#waiting.length === 0 && this.#running.size === 0) this.#fail(allFailed(this.#failures))
  }

  #takeNext(): Target {
    const other = this.#options.interleave === false ? -1 : this.#waiting.findIndex((target) => this.#isOther(target))
    return this.#waiting.splice(Math.max(other, 0), 1)[0] as Target
  }

  #isOther({ sockaddr }: Target): boolean {
    return this.#family !== undefined && (sockaddr && familyOf(sockaddr)) !== this.#family
  }

  #wantsMore(): boolean {
    if (this.#exhausted || this.#waiting.length >= MOST_AHEAD) return false
    if (this.#waiting.length === 0) return true
    return this.#options.interleave !== false && !this.#waiting.some((target) => this.#isOther(target))
  }

  /** Asks for one address ahead, so that finding it delays no attempt, and for more until one of another family comes. */
  async #ask(): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    try {
      const result = await (this.#iterator as AsyncIterator<AddressOrText>).next()
      if (result.done) this.#exhausted = true
      // Lets the timeout and the signal work even if equal addresses come without end.
      else if (!this.#note(readText(result.value))) await setImmediate()
    } catch (error) {
      this.#exhausted = true
      this.#failures.push({ error })
    }
    this.#asking = false
    this.#proceed()
  }

  /** Queues an address unless it is a duplicate. Returns whether it was queued. */
  #note(address: InetAddressLike): boolean {
    const sockaddr = orUndefined(() => inetSockaddr(address))
    const isWanted = sockaddr === undefined || isNew(sockaddr, this.#known)
    if (isWanted) this.#waiting.push({ address, sockaddr })
    return isWanted
  }

  #start({ address, sockaddr }: Target): void {
    this.#family = sockaddr && familyOf(sockaddr)
    this.#tell({ event: 'start', address })
    if (this.#settled) return
    let socket: Socket<InetAddress> | undefined
    try {
      const { prepare, protocol } = this.#options
      const target = sockaddr ?? inetSockaddr(addressOf(address) as InetAddressLike)
      const family = familyOf(target)
      socket = Socket.open(family, SOCK_STREAM, protocol) as Socket<InetAddress>
      prepare?.(socket)
      // If none is of this family, the kernel refuses to bind.
      const own = this.#local.find((candidate) => familyOf(encodeAddress(candidate)) === family) ?? this.#local[0]
      if (own !== undefined) bindToConnect(socket, encodeAddress(own))
      // `prepare` may have aborted the signal.
      if (this.#settled) closeQuietly(socket)
      else if (this.#connect(socket, target)) this.#connected(address, target, socket)
      else this.#follow(address, target, socket)
    } catch (error) {
      closeQuietly(socket)
      this.#lose(address, error)
    }
  }

  /** Starts to connect. Returns whether the socket is connected already. */
  #connect(socket: Socket, sockaddr: Uint8Array): boolean {
    const { fastOpen } = this.#options
    if (fastOpen === undefined) return socket.connect(sockaddr) === true
    try {
      const sent = socket.sendTo(fastOpen, sockaddr, MSG_FASTOPEN)
      if (sent === null) throw new SystemError(errno.EAGAIN, 'sendto')
      this.#unsent = fastOpen.subarray(sent)
    } catch (error) {
      const { code } = error as SystemError
      // net.ipv4.tcp_fastopen is off.
      if (code === 'ENOTSUP') return socket.connect(sockaddr) === true
      // Without a cookie, the SYN asks for one and carries no data.
      if (code !== 'EINPROGRESS') throw error
    }
    return false
  }

  #follow(address: InetAddressLike, sockaddr: Uint8Array, socket: Socket<InetAddress>): void {
    const lost = () => this.#finish(attempt, errno.EBADF)
    const watchFunction = this.#options.stream?.watch ?? watch
    const attempt: Attempt = {
      address,
      sockaddr,
      socket,
      watch: watchFunction(socket, EPOLLOUT, () => this.#finish(attempt), { ended: lost }),
    }
    this.#running.add(attempt)
    this.#ready = false
    const last = this.#exhausted && this.#waiting.length === 0
    if (!last) this.#next = setTimeout(() => this.#hurry(), this.#delay)
  }

  #hurry(): void {
    clearTimeout(this.#next)
    this.#ready = true
    this.#proceed()
  }

  #finish(attempt: Attempt, failure?: number): void {
    if (!this.#running.delete(attempt)) return
    const { address, sockaddr, socket } = attempt
    attempt.watch.stop()
    try {
      const pending = failure ?? getOption(socket, SO_ERROR)
      if (pending !== 0) throw new SystemError(pending, 'connect', formatAddress(address))
      this.#connected(address, sockaddr, socket)
    } catch (error) {
      closeQuietly(socket)
      this.#lose(address, error)
      this.#hurry()
    }
  }

  #connected(address: InetAddressLike, sockaddr: Uint8Array, socket: Socket<InetAddress>): void {
    refuseSelfConnection(socket, sockaddr)
    this.#win(address, socket)
  }

  #lose(address: InetAddressLike, error: unknown): void {
    this.#failures.push({ error, address })
    this.#tell({ event: 'fail', address, error: errorOf(error) })
  }

  #win(address: InetAddressLike, socket: Socket<InetAddress>): void {
    this.#tell({ event: 'win', address })
    if (this.#settled) {
      closeQuietly(socket)
      return
    }
    this.#settle()
    this.#resolve({ socket, unsent: this.#unsent })
  }

  #tell(attempt: ConnectAttempt): void {
    try {
      this.#options.onAttempt?.(attempt)
    } catch (error) {
      this.#fail(error)
    }
  }

  #expire(): void {
    const late = [...this.#running]
    for (const { address } of late) {
      if (this.#settled) return
      this.#lose(address, new SystemError(errno.ETIMEDOUT, 'connect', formatAddress(address)))
    }
    if (late.length === 0) this.#failures.push({ error: new SystemError(errno.ETIMEDOUT, 'connect') })
    this.#fail(allFailed(this.#failures, 'ETIMEDOUT'))
  }

  #fail(error: unknown): void {
    if (this.#settled) return
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.#settled = true
    clearTimeout(this.#next)
    clearTimeout(this.#limit)
    this.#ignoreSignal?.()
    for (const attempt of this.#running) {
      attempt.watch.stop()
      closeQuietly(attempt.socket)
    }
    this.#running.clear()
    if (!this.#exhausted) void this.#release()
  }

  /** Not awaited: a stuck generator may never settle. */
  async #release(): Promise<void> {
    try {
      await this.#iterator?.return?.()
    } catch {
      // The promise has settled: no caller is left to receive this error.
    }
  }
}

interface Failure {
  readonly error: unknown
  /** The address of the attempt; undefined if the iterator failed, or the time was over while no attempt ran. */
  readonly address?: InetAddressLike
}

/** Combines all failures into one error. Its code is that of the first attempt, whose address was the best. */
function allFailed(failures: readonly Failure[], code = codeOf(failures[0]?.error)): unknown {
  if (failures.length === 0) return new TypeError('there is no address to connect to')
  if (failures.length === 1) return failures[0]?.error
  const messages = failures.map(describe)
  const all = new AggregateError(failures.map(withAddress), `no address could be connected to: ${messages.join('; ')}`)
  return Object.assign(all, { code })
}

/**
 * Sets `address` only on errors that the attempt itself made: a value thrown by the program may be frozen, shared, or no
 * error.
 */
function withAddress({ error, address }: Failure): unknown {
  if (address === undefined) return error
  const own = error instanceof SystemError && Object.isExtensible(error) && !Object.hasOwn(error, 'address')
  return own
    ? Object.assign(error, { address })
    : Object.assign(new Error(messageOf(error), { cause: error }), { code: codeOf(error), address })
}

function describe({ error, address }: Failure): string {
  if (address === undefined) return messageOf(error)
  const text = textOf(address)
  return error instanceof SystemError && error.detail === text ? error.message : `${text}: ${messageOf(error)}`
}

function errorOf(thrown: unknown): NodeJS.ErrnoException {
  return types.isNativeError(thrown) ? thrown : new Error(messageOf(thrown), { cause: thrown })
}

function codeOf(error: unknown): unknown {
  return (error as Partial<SystemError> | null | undefined)?.code
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : inspect(error)
}

/** How many addresses may wait while one of the other family is sought. */
const MOST_AHEAD = 32

/** Formats an address, even one from an iterator that is invalid. */
function textOf(address: InetAddressLike): string {
  try {
    return formatAddress(address)
  } catch {
    return inspect(address)
  }
}

/** Parses text that an iterator delivers. Invalid text is kept, so that its attempt fails. */
function readText(address: AddressOrText): InetAddressLike {
  try {
    return addressOf(address) as InetAddressLike
  } catch {
    return address as InetAddressLike
  }
}

function streamOf(socket: Socket<InetAddress>, options: SocketStreamOptions | undefined): SocketStream<InetAddress> {
  try {
    return new SocketStream(socket, options)
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}
