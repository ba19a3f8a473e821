/**
 * What a `SocketStream` has in common with a `net.Socket`, apart from moving the bytes. A subclass may override every
 * method; the functions that the stream itself depends on are therefore no methods.
 */
import { Duplex, type DuplexOptions } from 'node:stream'
import type { SocketAddress } from '../address.js'
import { checkFunction } from '../argument.js'
import type { SystemError } from '../error.js'
import type { AsFd } from '../fd.js'
import { type OptionName, setOption, setOptionInt } from '../option.js'
import { SO_KEEPALIVE } from '../options/socket.js'
import { TCP_KEEPIDLE, TCP_NODELAY } from '../options/tcp.js'
import { orUndefined, resetOnClose } from '../quietly.js'
import type { Socket } from '../socket.js'
import { canceled } from './loans.js'
import { type NetAddress, netAddress, type WithNetNames, withNetNames } from './names.js'

// With a type of its own, since the declarations would otherwise list the static members that Duplex has in one version.
const NetDuplex: WithNetNames<typeof Duplex> = withNetNames(Duplex)

/** Restarts the time that `setTimeout` counts. The stream does so whenever it moves bytes. */
export let refreshTimeout: (stream: NetStream<SocketAddress>) => void

/** Ends the timeout: the stream no longer emits `'timeout'`. */
export let stopTimeout: (stream: NetStream<SocketAddress>) => void

/**
 * Calls the callback of a write that the kernel hasn't taken: with the error, else as `net.Socket` does
 * (`CANCELLING_FAILS`).
 */
export let dropWrite: (stream: NetStream<SocketAddress>, callback: WriteCallback, error: Error | null) => void

/** The members that a `SocketStream` shares with a `net.Socket`, apart from those that move the bytes. */
export abstract class NetStream<Address extends SocketAddress> extends NetDuplex implements AsFd {
  /** For subclasses, which must leave sending, receiving and closing to the stream. */
  protected readonly socket: Socket<Address>

  #localName: Address | undefined
  #peerName: Address | undefined
  #timeout: number | undefined
  #idle: NodeJS.Timeout | undefined
  /** Whether a write callback is being called with an error that must not become the stream's own error. */
  #dropping = false

  static {
    refreshTimeout = (stream) => stream.#idle?.refresh()
    stopTimeout = (stream) => {
      clearTimeout(stream.#idle)
      stream.#idle = undefined
    }
    dropWrite = (stream, callback, error) => {
      stream.#dropping = true
      try {
        callback(error ?? (CANCELLING_FAILS ? canceled() : null))
      } finally {
        stream.#dropping = false
      }
    }
  }

  constructor(socket: Socket<Address>, options: DuplexOptions) {
    super(options)
    this.socket = socket
  }

  /** The descriptor, for `setOption` and its like; −1 once the stream is destroyed. */
  get fd(): number {
    return this.socket.fd
  }

  /** Keeps the process alive while the stream is open. This is the default. */
  abstract ref(): this

  /** Lets the process end although the stream is open. */
  abstract unref(): this

  /** Always false, since the socket was connected before. For code that expects a `net.Socket`. */
  get connecting(): boolean {
    return false
  }

  /** Always false, like `connecting`. */
  get pending(): boolean {
    return false
  }

  /** Which directions are open, in the words of `net.Socket`. */
  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  /** getsockname(2), called once. Undefined if the connection had ended before the first call. */
  get localName(): Address | undefined {
    this.#localName ??= orUndefined(() => this.socket.localName)
    return this.#localName
  }

  /**
   * The peer's address. For an accepted connection it is the address that accept4(2) gave, which stays after the connection
   * has ended. Otherwise getpeername(2), called once; undefined if the connection had ended before.
   */
  get peerName(): Address | undefined {
    this.#peerName ??= orUndefined(() => this.socket.peerName)
    return this.#peerName
  }

  /** The local address like `net.Socket`'s; empty for families other than IPv4 and IPv6, whose address is in `localName`. */
  address(): NetAddress | Record<string, never> {
    return netAddress(this.localName) ?? {}
  }

  /**
   * Sends `chunk` after everything written before. `callback` is called when the kernel has taken `chunk`, or with the
   * error: `ECANCELED` if `destroy` without an error came first, where the `net.Socket` of Node 20 reports success.
   */
  override write(chunk: unknown, callback?: WriteCallback): boolean
  override write(chunk: unknown, encoding?: BufferEncoding, callback?: WriteCallback): boolean
  override write(chunk: unknown, encoding?: BufferEncoding | WriteCallback, callback?: WriteCallback): boolean {
    const told = typeof encoding === 'function' ? encoding : callback
    const tell =
      typeof told === 'function'
        ? (error?: Error | null) => told(error ?? (this.#dropping ? canceled() : undefined))
        : told
    return super.write(chunk, (typeof encoding === 'function' ? undefined : encoding) as BufferEncoding, tell)
  }

  /** The **milliseconds** of the last call of `setTimeout`. */
  get timeout(): number | undefined {
    return this.#timeout
  }

  /**
   * Emits `'timeout'` when nothing has been read or written for `timeout` **milliseconds**, and again after each later idle
   * time. The stream goes on: the listener decides what to do. 0 turns the timeout off, and is the default. `callback`
   * listens to the next `'timeout'`; with 0 it stops listening.
   * @throws TypeError, RangeError if the timeout is not a number from 0 to 2³¹ − 1 ms; TypeError if the callback is not a
   * function
   */
  setTimeout(timeout: number, callback?: () => void): this {
    if (typeof timeout !== 'number') throw new TypeError('timeout must be a number of milliseconds')
    if (!(timeout >= 0 && timeout < 2 ** 31)) throw new RangeError('timeout must be from 0 to 2³¹ − 1 milliseconds')
    if (callback !== undefined) checkFunction(callback, 'callback')
    if (this.destroyed) return this
    this.#timeout = timeout
    clearTimeout(this.#idle)
    this.#idle = timeout === 0 ? undefined : setTimeout(() => this.emit('timeout'), timeout).unref()
    if (callback !== undefined) {
      if (timeout === 0) this.removeListener('timeout', callback)
      else this.once('timeout', callback)
    }
    return this
  }

  /**
   * setsockopt(2) `TCP_NODELAY`: whether small segments are sent at once. Does nothing if the protocol has no such option,
   * or once the stream is destroyed.
   */
  setNoDelay(noDelay = true): this {
    setTcpOption(this, TCP_NODELAY, noDelay ? 1 : 0)
    return this
  }

  /**
   * setsockopt(2) `SO_KEEPALIVE`, and with an `initialDelay` in **milliseconds**, cut to whole seconds, `TCP_KEEPIDLE`; 0
   * leaves that unchanged. Does nothing if the protocol has no such option, or once the stream is destroyed.
   * @throws SystemError `EINVAL` for a delay of more than 32 767 s
   */
  setKeepAlive(enable = false, initialDelay = 0): this {
    if (this.destroyed) return this
    setOption(this, SO_KEEPALIVE, enable)
    const idle = Math.trunc(initialDelay / 1000)
    if (enable && idle > 0) setTcpOption(this, TCP_KEEPIDLE, idle)
    return this
  }

  /** Ends the stream, and destroys it as soon as everything is written, without waiting for the peer's end. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /**
   * close(2) after `SO_LINGER` 0: unsent bytes are dropped, and a TCP peer gets a reset (RST). Other protocols have no
   * reset and are simply closed.
   */
  resetAndDestroy(): this {
    if (!this.destroyed) resetOnClose(this)
    return this.destroy()
  }
}

export type WriteCallback = (error?: Error | null) => void

/** Whether `net.Socket` reports an error for a write in flight that `destroy()` without an error drops: since Node 22. */
const CANCELLING_FAILS = Number.parseInt(process.versions.node, 10) >= 22

function setTcpOption(stream: NetStream<SocketAddress>, { level, option }: OptionName, value: number): void {
  if (stream.destroyed) return
  try {
    setOptionInt(stream, level, option, value)
  } catch (error) {
    const { code } = error as SystemError
    if (code !== 'ENOTSUP' && code !== 'ENOPROTOOPT') throw error
  }
}
