import { AsyncResource } from 'node:async_hooks'
import { inspect } from 'node:util'
import {
  type AddressLike,
  checkInteger,
  EPOLLOUT,
  encodeAddress,
  errno,
  familyOf,
  formatAddress,
  getOption,
  MSG_FASTOPEN,
  SO_ERROR,
  SOCK_STREAM,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  SystemError,
  type Watch,
  watch,
} from '@linux-sockets/native-core'
import { listOf } from './addresses.js'

/** How to connect. */
export interface ConnectOptions {
  /** Gives up connecting: the promise rejects with the signal's reason, and nothing stays open. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds** for all attempts together, at least 1, after which those that still run fail with `ETIMEDOUT`. Default: only the kernel's own limits. */
  readonly timeout?: number | undefined
  /**
   * **Milliseconds** from the start of one attempt to that of the next, at least 10; where one fails, the next starts at
   * once. Default 250. RFC 8305, section 5
   */
  readonly attemptDelay?: number | undefined
  /**
   * The address to connect from, or one for each family; the port may be 0. Addresses of a family that has none here
   * can't be connected to.
   */
  readonly localAddress?: AddressLike | readonly AddressLike[] | undefined
  /**
   * Called with each attempt's socket before it is bound and connected, to set options:
   * `(socket) => setOption(socket, TCP_USER_TIMEOUT, 10_000)`. What it throws fails that attempt.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /**
   * `MSG_FASTOPEN`: the first **bytes** to send, only where there is one address. They go with the SYN once an earlier
   * connection has brought the peer's cookie, as far as they fit; what doesn't, and all of them without a cookie or where
   * `net.ipv4.tcp_fastopen` is off, follows as the stream's first write. They may reach the peer's program twice, so
   * let them be what does no harm then. Not to be changed before they are sent. RFC 7413
   */
  readonly fastOpen?: Uint8Array | undefined
  /** Called with what happens to each attempt. What it throws gives up connecting, and is what the promise rejects with. */
  readonly onAttempt?: ((attempt: ConnectAttempt) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: TCP. */
  readonly protocol?: number | undefined
  /** For the stream. Its `watch` serves the attempts, too. */
  readonly stream?: SocketStreamOptions | undefined
}

/** What happens to an attempt to connect; those that are closed because another was first say no more. */
export interface ConnectAttempt {
  /** It begins, has failed, or is the first to be connected. */
  readonly event: 'start' | 'fail' | 'win'
  /** Where it goes. */
  readonly address: AddressLike
  /** Why it failed. */
  readonly error?: unknown
}

/**
 * connect(2): a connection to the first address that takes it, as a stream. Nothing blocks meanwhile.
 *
 *     const stream = await connect({ family: 'ipv4', address: '127.0.0.1', port: 8080 }, { timeout: 5000 })
 *
 * Addresses are tried in the order given, each `attemptDelay` after the one before, or at once when one fails. All
 * attempts run on until the first of them is connected; the others are then closed. Addresses may also arrive one by one
 * from an async iterable, which is asked for one address ahead, and whose `return` is called when no more are wanted.
 * `TCP_NODELAY` is left off, unlike in `node:http`: `prepare: (socket) => setOption(socket, TCP_NODELAY, true)`.
 *
 * @throws SystemError of the attempt when there was one: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, …
 * @throws AggregateError with the `errors` of all attempts, and of the iterator, when there were several; its `code` is
 * that of the first, or `ETIMEDOUT` after `timeout`. Each attempt's error has the `address` that it was for, as it was
 * given. It is the attempt's own SystemError; whatever else `prepare` threw stays as it is, as the `cause` of an Error with
 * the same `code`.
 * @throws TypeError without an address, or for one that is none; for `fastOpen` with more than one
 * @see {@link https://www.rfc-editor.org/rfc/rfc8305 RFC 8305}
 */
export async function connect(
  addresses: AddressLike | Iterable<AddressLike> | AsyncIterable<AddressLike>,
  options: ConnectOptions = {},
): Promise<SocketStream> {
  const { signal, timeout, attemptDelay = 250, fastOpen, onAttempt } = options
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  checkInteger(attemptDelay, 10, 0x7fff_ffff, 'attemptDelay')
  for (const address of localAddresses(options)) encodeAddress(address)
  if (fastOpen !== undefined && !(fastOpen instanceof Uint8Array)) throw new TypeError('fastOpen must be a Uint8Array')
  if (onAttempt !== undefined && typeof onAttempt !== 'function') throw new TypeError('onAttempt must be a function')
  const coming = Symbol.asyncIterator in Object(addresses)
  const list = coming ? [] : listOf(addresses as AddressLike | Iterable<AddressLike>)
  // Who tries several addresses would have several peers act on the same bytes.
  if (fastOpen !== undefined && list.length !== 1) throw new TypeError('fastOpen takes exactly one address')
  signal?.throwIfAborted()
  const iterator = coming ? (addresses as AsyncIterable<AddressLike>)[Symbol.asyncIterator]() : undefined
  const { socket, unsent } = await new Promise<Connected>((resolve, reject) => {
    new Race(list, iterator, options, attemptDelay, resolve, reject).run()
  })
  const stream = streamOf(socket, options.stream)
  if (unsent.length > 0) stream.write(unsent)
  return stream
}

interface Connected {
  readonly socket: Socket
  /** What is left of `fastOpen`. */
  readonly unsent: Uint8Array
}

interface Attempt {
  readonly address: AddressLike
  readonly socket: Socket
  readonly watch: Watch
}

/** The attempts of one call. */
class Race {
  readonly #waiting: AddressLike[]
  readonly #iterator: AsyncIterator<AddressLike> | undefined
  readonly #options: ConnectOptions
  readonly #delay: number
  readonly #resolve: (connected: Connected) => void
  readonly #reject: (error: unknown) => void
  readonly #running = new Set<Attempt>()
  #unsent: Uint8Array
  readonly #failures: Failure[] = []
  #settled = false
  /** Whether the next attempt may start as soon as there is an address. */
  #ready = true
  #exhausted: boolean
  #asking = false
  #abort: (() => void) | undefined
  #next: NodeJS.Timeout | undefined
  #limit: NodeJS.Timeout | undefined

  constructor(
    list: AddressLike[],
    iterator: AsyncIterator<AddressLike> | undefined,
    options: ConnectOptions,
    delay: number,
    resolve: (connected: Connected) => void,
    reject: (error: unknown) => void,
  ) {
    this.#waiting = list
    this.#iterator = iterator
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
      // Not that of whoever aborts: the iterator's `return` is called from there.
      const context = new AsyncResource('LinuxSocketsConnect')
      this.#abort = () => context.runInAsyncScope(this.#fail, this, signal.reason)
      signal.addEventListener('abort', this.#abort)
    }
    this.#proceed()
  }

  #proceed(): void {
    while (!this.#settled && this.#ready && this.#waiting.length > 0) this.#start(this.#waiting.shift() as AddressLike)
    if (this.#settled || this.#waiting.length > 0) return
    if (!this.#exhausted) void this.#ask()
    else if (this.#running.size === 0) this.#fail(allFailed(this.#failures))
  }

  /** One address ahead, so that looking for it takes no time of its own. */
  async #ask(): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    try {
      const result = await (this.#iterator as AsyncIterator<AddressLike>).next()
      if (result.done) this.#exhausted = true
      else this.#waiting.push(result.value)
    } catch (error) {
      this.#exhausted = true
      this.#failures.push({ error })
    }
    this.#asking = false
    this.#proceed()
  }

  #start(address: AddressLike): void {
    this.#tell({ event: 'start', address })
    if (this.#settled) return
    let socket: Socket | undefined
    try {
      const { prepare, protocol } = this.#options
      const sockaddr = encodeAddress(address)
      const family = familyOf(sockaddr)
      socket = Socket.open(family, SOCK_STREAM, protocol)
      prepare?.(socket)
      const local = localAddresses(this.#options)
      // Where none is of the family, the kernel says so.
      const own = local.find((candidate) => familyOf(encodeAddress(candidate)) === family) ?? local[0]
      if (own !== undefined) socket.bind(own)
      // `prepare` may have aborted.
      if (this.#settled) socket.close()
      else if (this.#connect(socket, sockaddr)) this.#win(address, socket)
      else this.#follow(address, socket)
    } catch (error) {
      socket?.close()
      this.#lose(address, error)
    }
  }

  /** Whether it is connected already. */
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
      // Without a cookie the SYN asks for one, and takes no bytes.
      if (code !== 'EINPROGRESS') throw error
    }
    return false
  }

  #follow(address: AddressLike, socket: Socket): void {
    const lost = () => this.#finish(attempt, errno.EBADF)
    const watchFunction = this.#options.stream?.watch ?? watch
    const attempt: Attempt = {
      address,
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
    const { address, socket } = attempt
    attempt.watch.stop()
    try {
      const pending = failure ?? getOption(socket, SO_ERROR)
      if (pending !== 0) throw new SystemError(pending, 'connect', formatAddress(address))
    } catch (error) {
      socket.close()
      this.#lose(address, error)
      this.#hurry()
      return
    }
    this.#win(address, socket)
  }

  #lose(address: AddressLike, error: unknown): void {
    this.#failures.push({ error, address })
    this.#tell({ event: 'fail', address, error })
  }

  #win(address: AddressLike, socket: Socket): void {
    this.#tell({ event: 'win', address })
    if (this.#settled) {
      socket.close()
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
    if (this.#abort !== undefined) this.#options.signal?.removeEventListener('abort', this.#abort)
    for (const attempt of this.#running) {
      attempt.watch.stop()
      attempt.socket.close()
    }
    this.#running.clear()
    if (!this.#exhausted) void this.#release()
  }

  /** Not waited for: a generator that hangs answers never. */
  async #release(): Promise<void> {
    try {
      await this.#iterator?.return?.()
    } catch {
      // Nobody is left to be told.
    }
  }
}

interface Failure {
  readonly error: unknown
  /** Where the attempt was going; nowhere, where it is the iterator that failed. */
  readonly address?: AddressLike
}

/** Its own code is the first attempt's, whose address was the best. */
function allFailed(failures: readonly Failure[], code = codeOf(failures[0]?.error)): unknown {
  if (failures.length === 0) return new TypeError('there is no address to connect to')
  if (failures.length === 1) return failures[0]?.error
  const messages = failures.map(describe)
  const all = new AggregateError(failures.map(withAddress), `no address could be connected to: ${messages.join('; ')}`)
  return Object.assign(all, { code })
}

/** Only what the attempt itself has made is written to: what a program throws may be frozen, no error, or always the same. */
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

function codeOf(error: unknown): unknown {
  return (error as Partial<SystemError> | null | undefined)?.code
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : inspect(error)
}

/** What an iterator brings may be no address. */
function textOf(address: AddressLike): string {
  try {
    return formatAddress(address)
  } catch {
    return inspect(address)
  }
}

function localAddresses({ localAddress }: ConnectOptions): readonly AddressLike[] {
  if (localAddress === undefined) return []
  return Array.isArray(localAddress) ? localAddress : [localAddress as AddressLike]
}

function streamOf(socket: Socket, options: SocketStreamOptions | undefined): SocketStream {
  try {
    return new SocketStream(socket, options)
  } catch (error) {
    socket.close()
    throw error
  }
}
