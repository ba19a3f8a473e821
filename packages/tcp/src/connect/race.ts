// The attempts of one call of `connect`.
//
// Invariant: every open socket belongs to a running attempt or to the caller. When the race is settled no attempt runs, all
// other sockets are closed, and the iterator has been asked to return unless it has ended. Until then an attempt runs, the
// iterator is being asked, or the next attempt starts at once.
import { AsyncResource } from 'node:async_hooks'
import { setImmediate } from 'node:timers/promises'
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
  closeQuietly,
  onAbort,
  orUndefined,
  refuseSelfConnection,
} from '@linux-sockets/native-core/internal'
import { SO_ERROR } from '@linux-sockets/native-core/options'
import { type AddressOrText, type InetAddressLike, inetSockaddr, isNew } from '../addresses.js'
import { allFailed, errorOf, type Failure } from './failure.js'
import type { ConnectAttempt, ConnectOptions } from './types.js'

/** The connection that won. */
export interface Connected {
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
export class Race {
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

/** How many addresses may wait while one of the other family is sought. */
const MOST_AHEAD = 32

/** Parses text that an iterator delivers. Invalid text is kept, so that its attempt fails. */
function readText(address: AddressOrText): InetAddressLike {
  try {
    return addressOf(address) as InetAddressLike
  } catch {
    return address as InetAddressLike
  }
}
