import {
  AF_INET,
  AF_INET6,
  type AsFd,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  errno,
  getOption,
  SHUT_WR,
  SO_DOMAIN,
  SO_ERROR,
  SO_LINGER,
  type Socket,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
import { protect, type Reactor, type Registration } from './reactor.js'

/** What a program does with its connections; one object serves them all. */
export interface Handlers<State> {
  /** The connection is there. */
  open?(connection: Connection<State>): void
  /** Bytes came. `chunk` is only lent: it is overwritten after the call, so copy what you keep. */
  data(connection: Connection<State>, chunk: Buffer): void
  /** The queue is empty again after `write` returned false. */
  drain?(connection: Connection<State>): void
  /** The peer has sent its last byte. Without this handler the connection ends its side, too. */
  end?(connection: Connection<State>): void
  /** The connection broke: `ECONNRESET`, `ETIMEDOUT`, … `close` follows. */
  error?(connection: Connection<State>, error: Error): void
  /** The connection is gone; always the last call, and made once. */
  close?(connection: Connection<State>): void
}

/** How much may wait to be sent. */
export interface ConnectionOptions {
  /** Queued bytes from which on `write` returns false. Default 64 KiB. */
  readonly highWaterMark?: number | undefined
  /** Queued bytes that are never exceeded: the connection breaks with `ENOBUFS`. Default 16 MiB. */
  readonly maxQueued?: number | undefined
}

/** A connected stream socket in a reactor, edge-triggered. `state` is the program's own. */
export class Connection<State = undefined> implements AsFd {
  /** Whatever the handlers keep with the connection. */
  state: State
  /** Bytes received so far. */
  bytesRead = 0
  /** Bytes that the kernel has taken so far. */
  bytesWritten = 0
  readonly #socket: Socket
  readonly #handlers: Handlers<State>
  readonly #registration: Registration
  readonly #highWaterMark: number
  readonly #maxQueued: number
  /** Whether a short read says that nothing is left. */
  readonly #readsWhole: boolean
  #queue: Buffer[] = []
  #queued = 0
  #mustDrain = false
  #paused = false
  #peerEnded = false
  #ending = false
  #closed = false

  /**
   * Takes over a connected socket: from here on only the connection may close it.
   * @throws SystemError when it can't be registered; the socket is then closed
   */
  constructor(
    reactor: Reactor,
    socket: Socket,
    handlers: Handlers<State>,
    state: State,
    options: ConnectionOptions = {},
  ) {
    this.state = state
    this.#socket = socket
    this.#handlers = handlers
    this.#highWaterMark = options.highWaterMark ?? 64 * 1024
    this.#maxQueued = options.maxQueued ?? 16 * 1024 * 1024
    try {
      // A Unix socket stops reading where descriptors came along, or another writer's bytes begin.
      this.#readsWhole = [AF_INET, AF_INET6].includes(getOption(socket, SO_DOMAIN))
      this.#registration = reactor.register(
        socket,
        READING,
        (events) => this.#handle(events),
        () => this.#close(),
      )
    } catch (error) {
      socket.close()
      throw error
    }
    protect(() => handlers.open?.(this))
  }

  /** The descriptor, for options; −1 once closed. */
  get fd(): number {
    return this.#socket.fd
  }

  /** Bytes that wait for the kernel to take them. */
  get queued(): number {
    return this.#queued
  }

  /** Whether the connection is gone. */
  get closed(): boolean {
    return this.#closed
  }

  /**
   * Sends at once what the kernel takes, and queues a copy of the rest, so `data` is free afterwards. Returns false when
   * the queue has reached its high mark: wait for `drain`. After `end` or on a closed connection the data is dropped.
   */
  write(data: Uint8Array): boolean {
    if (!(data instanceof Uint8Array)) throw new TypeError('data must be a Uint8Array')
    if (this.#closed || this.#ending) return false
    let sent = 0
    if (this.#queued === 0) {
      try {
        sent = this.#send(data)
      } catch (error) {
        this.#break(error as Error)
        return false
      }
    }
    if (sent < data.length) this.#enqueue(data.subarray(sent))
    this.#mustDrain = this.#queued >= this.#highWaterMark || this.#mustDrain
    return !this.#mustDrain && !this.#closed
  }

  /** Sends what is queued, then a FIN. The connection closes when the peer has ended, too. */
  end(): void {
    if (this.#closed || this.#ending) return
    this.#ending = true
    if (this.#queued === 0) this.#finish()
  }

  /** Ends at once: what is queued is dropped, and the peer sees a reset. */
  abort(): void {
    if (this.#closed) return
    if (this.fd >= 0) setOption(this.#socket, SO_LINGER, 0)
    this.#close()
  }

  /** Stops reading: the kernel's buffer fills, and the peer must wait. */
  pause(): void {
    this.#paused = true
  }

  /** Reads on. */
  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    // The edge may have passed while nobody was reading.
    this.#readLater()
  }

  #handle(events: number): void {
    // Reading first: the error that a write meets would end the connection and with it the bytes that came before.
    try {
      if ((events & ~EPOLLOUT) !== 0) this.#read((events & ~(EPOLLIN | EPOLLOUT)) !== 0)
      if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && this.#peerEnded) this.#breakIfFailed()
    } finally {
      if ((events & EPOLLOUT) !== 0) this.#flush()
    }
  }

  /**
   * Drains the socket, up to a budget so that others get their turn. A short read means that nothing is left, which
   * spares the call that would only say so (epoll(7), question 9) — unless an end, an error or urgent data waits behind
   * what was read.
   */
  #read(untilEnd: boolean): void {
    for (let reads = 0; !this.#paused && !this.#closed && !this.#peerEnded; reads++) {
      if (reads === READS_PER_TURN) {
        this.#readLater()
        return
      }
      let count: number | null
      try {
        count = this.#socket.recv(slab)
      } catch (error) {
        this.#break(error as Error)
        return
      }
      if (count === null) return
      if (count === 0) {
        this.#endOfInput()
        return
      }
      this.bytesRead += count
      try {
        this.#handlers.data(this, slab.subarray(0, count))
      } catch (error) {
        this.#readLater()
        throw error
      }
      if (count < slab.length && this.#readsWhole && !untilEnd) return
    }
  }

  /** The edge has passed, and is not reported again. Whether an end or an error came with it is no longer known. */
  #readLater(): void {
    this.#registration.again(EPOLLIN | EPOLLRDHUP)
  }

  #endOfInput(): void {
    this.#peerEnded = true
    if (this.#handlers.end === undefined) this.end()
    else protect(() => this.#handlers.end?.(this))
    this.#closeWhenBothEnded()
  }

  /** Behind the peer's end nothing can be read that would tell. */
  #breakIfFailed(): void {
    if (this.#closed) return
    const failure = getOption(this.#socket, SO_ERROR)
    if (failure !== 0) this.#break(new SystemError(failure, 'recv'))
  }

  #send(data: Uint8Array): number {
    const sent = this.#socket.send(data) ?? 0
    this.bytesWritten += sent
    return sent
  }

  #enqueue(rest: Uint8Array): void {
    if (this.#queued + rest.length > this.#maxQueued) {
      this.#break(new SystemError(errno.ENOBUFS, 'write', `${this.#queued + rest.length} bytes queued`))
      return
    }
    if (this.#queued === 0) this.#registration.modify(READING | EPOLLOUT)
    this.#queued += rest.length
    const last = this.#queue.at(-1)
    if (last !== undefined && rest.length <= last.buffer.byteLength - last.byteOffset - last.length) {
      const longer = Buffer.from(last.buffer, last.byteOffset, last.length + rest.length)
      longer.set(rest, last.length)
      this.#queue[this.#queue.length - 1] = longer
    } else {
      const block = Buffer.allocUnsafeSlow(Math.max(rest.length, BLOCK_SIZE))
      block.set(rest)
      this.#queue.push(block.subarray(0, rest.length))
    }
  }

  #flush(): void {
    try {
      while (this.#queued > 0) {
        const sent = this.#socket.sendMessage({ data: this.#queue.slice(0, PIECES_PER_CALL) })
        if (sent === null) return
        this.bytesWritten += sent
        this.#dequeue(sent)
      }
    } catch (error) {
      this.#break(error as Error)
      return
    }
    if (this.#closed) return
    this.#registration.modify(READING)
    if (this.#ending) this.#finish()
    else if (this.#mustDrain) {
      this.#mustDrain = false
      protect(() => this.#handlers.drain?.(this))
    }
  }

  #dequeue(sent: number): void {
    this.#queued -= sent
    let whole = 0
    while (sent > 0) {
      const piece = this.#queue[whole] as Buffer
      if (sent < piece.length) {
        this.#queue[whole] = piece.subarray(sent)
        break
      }
      sent -= piece.length
      whole++
    }
    this.#queue.splice(0, whole)
  }

  #finish(): void {
    try {
      this.#socket.shutdown(SHUT_WR)
    } catch (error) {
      this.#break(error as Error)
      return
    }
    this.#closeWhenBothEnded()
  }

  #closeWhenBothEnded(): void {
    if (this.#peerEnded && this.#ending && this.#queued === 0) this.#close()
  }

  #break(error: Error): void {
    if (this.#closed) return
    // What the handler still does with the connection comes to nothing.
    this.#closed = true
    protect(() => this.#handlers.error?.(this, error))
    this.#release()
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#release()
  }

  #release(): void {
    this.#queue = []
    this.#queued = 0
    this.#registration.close()
    this.#socket.close()
    protect(() => this.#handlers.close?.(this))
  }
}

const READING = (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET) >>> 0
const READS_PER_TURN = 16
const PIECES_PER_CALL = 64

/** Small pieces that wait share a block of so many bytes, so that many of them take no more than their bytes. */
const BLOCK_SIZE = 4096

/** All connections of a thread read into one slab: a chunk is handled before the next one is read. */
const slab = Buffer.allocUnsafeSlow(64 * 1024)
