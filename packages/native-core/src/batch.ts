import { type AddressLike, encodeAddress, readSockaddr, type SocketAddress } from './address.js'
import { checkInteger } from './codec.js'
import { MSG_CMSG_CLOEXEC, MSG_CTRUNC } from './constants.js'
import { type ControlMessage, decodeControl, encodeControl, hasDescriptors, passesDescriptors } from './control.js'
import { unlessBlocked } from './error.js'
import type { AsFd, OwnedFd } from './fd.js'
import { takeDescriptors } from './message.js'
import { native, SOCKADDR_MAX } from './native.js'

/** The most messages that one call moves (`UIO_MAXIOV`). */
export const BATCH_MAX = 1024

/** The room that a batch has for what is received. */
export interface ReceiveBatchOptions {
  /** Messages per call, 1 … 1024. Default 32. */
  readonly count?: number | undefined
  /** Bytes for each message; longer datagrams are cut and flagged `MSG_TRUNC`. Default 2048; with `UDP_GRO` take 65535. */
  readonly size?: number | undefined
  /** Bytes of control buffer for each message. Default 0. */
  readonly control?: number | undefined
}

/**
 * recvmmsg(2): many datagrams in one call, into buffers that are used again and again; nothing is allocated per datagram.
 *
 *     const batch = new ReceiveBatch()
 *     const count = batch.receive(socket) ?? 0
 *     for (let i = 0; i < count; i++) handle(batch.data(i), batch.address(i))
 *
 * What `data` returns is overwritten by the next `receive`.
 */
export class ReceiveBatch {
  /** All messages' data: message i begins at `i * size`. */
  readonly payload: Buffer
  /** Messages per call. */
  readonly count: number
  /** Bytes for each message. */
  readonly size: number
  readonly #names: Uint8Array
  readonly #control: Uint8Array | null
  readonly #controlSize: number
  readonly #table: Int32Array
  readonly #descriptors = new Map<number, OwnedFd[]>()

  constructor({ count = 32, size = 2048, control = 0 }: ReceiveBatchOptions = {}) {
    checkInteger(count, 1, BATCH_MAX, 'count')
    checkInteger(size, 1, 0x1000_0000, 'size')
    checkInteger(control, 0, 0x10_0000, 'control')
    this.count = count
    this.size = size
    this.payload = Buffer.alloc(count * size)
    this.#names = new Uint8Array(count * SOCKADDR_MAX)
    // Each message's share must begin where a cmsghdr may.
    this.#controlSize = Math.ceil(control / 8) * 8
    this.#control = control === 0 ? null : new Uint8Array(count * this.#controlSize)
    this.#table = new Int32Array(count * WORDS)
  }

  /** Receives what waits, at most `count` messages. Returns how many, or `null` when there is none. */
  receive(socket: AsFd, flags = 0): number | null {
    const result = native.recvmmsg(socket.fd, this.payload, this.#names, this.#control, this.#table, this.count, flags)
    this.#descriptors.clear()
    const count = unlessBlocked(result, 'recvmmsg')
    if (count === null) return null
    for (let i = 0; i < count; i++) if (this.#passesDescriptors(i)) this.#takeDescriptors(i)
    return count
  }

  /** The length of message i; it may exceed `size` only when `MSG_TRUNC` was among the flags of `receive`. */
  length(i: number): number {
    return this.#table[i * WORDS] as number
  }

  /** The kernel's flags of message i: `MSG_TRUNC`, `MSG_CTRUNC`. */
  flags(i: number): number {
    return (this.#table[i * WORDS + 3] as number) & ~MSG_CMSG_CLOEXEC
  }

  /** The data of message i, as a view of `payload`. */
  data(i: number): Buffer {
    const start = i * this.size
    return this.payload.subarray(start, start + Math.min(this.length(i), this.size))
  }

  /** The sender of message i; `null` where it has no name. */
  address(i: number): SocketAddress | null {
    return readSockaddr(this.sockaddr(i), this.#table[i * WORDS + 1] as number)
  }

  /** The sender of message i as bytes, overwritten by the next `receive`; can be sent to as it is. */
  sockaddr(i: number): Uint8Array {
    const start = i * SOCKADDR_MAX
    return this.#names.subarray(start, start + Math.min(this.#table[i * WORDS + 1] as number, SOCKADDR_MAX))
  }

  /** The control messages of message i but those that passed descriptors. */
  control(i: number): ControlMessage[] {
    return this.#allControl(i).filter((message) => !passesDescriptors(message))
  }

  /** The descriptors that came with message i, yours to close; empty when the message was cut (`MSG_CTRUNC`). */
  descriptors(i: number): readonly OwnedFd[] {
    return this.#descriptors.get(i) ?? []
  }

  #allControl(i: number): ControlMessage[] {
    if (this.#control === null) return []
    const start = i * this.#controlSize
    return decodeControl(this.#control.subarray(start, start + this.#controlSize), this.#table[i * WORDS + 2] as number)
  }

  // Looks without allocating, since datagrams with control messages are many and those with descriptors few.
  #passesDescriptors(i: number): boolean {
    const length = this.#table[i * WORDS + 2] as number
    return this.#control !== null && length > 0 && hasDescriptors(this.#control, i * this.#controlSize, length)
  }

  #takeDescriptors(i: number): void {
    this.#descriptors.set(i, takeDescriptors(this.#allControl(i), (this.flags(i) & MSG_CTRUNC) !== 0, false))
  }
}

/** The room that a batch has for what is to be sent. */
export interface SendBatchOptions {
  /** Messages per batch, 1 … 1024. Default 32. */
  readonly count?: number | undefined
  /** Bytes for all messages together. Default 2048 per message. */
  readonly capacity?: number | undefined
  /** Bytes of control buffer for each message. Default 0. */
  readonly control?: number | undefined
}

/**
 * sendmmsg(2): many datagrams in one call. `add` copies them into the batch; `send` sends as many as the socket takes.
 *
 *     const batch = new SendBatch()
 *     while (batch.add(next(), address)) {}
 *     batch.send(socket)
 */
export class SendBatch {
  readonly #payload: Uint8Array
  readonly #names: Uint8Array
  readonly #control: Uint8Array | null
  readonly #controlSize: number
  readonly #table: Int32Array
  readonly #most: number
  #used = 0
  #count = 0
  #sent = 0

  constructor({ count = 32, capacity = count * 2048, control = 0 }: SendBatchOptions = {}) {
    checkInteger(count, 1, BATCH_MAX, 'count')
    checkInteger(capacity, 1, 0x1000_0000, 'capacity')
    checkInteger(control, 0, 0x10_0000, 'control')
    this.#most = count
    this.#payload = new Uint8Array(capacity)
    this.#names = new Uint8Array(count * SOCKADDR_MAX)
    this.#controlSize = Math.ceil(control / 8) * 8
    this.#control = control === 0 ? null : new Uint8Array(count * this.#controlSize)
    this.#table = new Int32Array(count * WORDS)
  }

  /** Messages added and not yet sent. */
  get pending(): number {
    return this.#count - this.#sent
  }

  /**
   * Adds a message. Returns false, and adds nothing, when the batch is full.
   * @throws RangeError when data or control could not fit even in an empty batch, TypeError for what is no data
   */
  add(data: Uint8Array, address?: AddressLike, control?: readonly ControlMessage[]): boolean {
    if (!(data instanceof Uint8Array)) throw new TypeError('data must be a Uint8Array')
    const sockaddr = address === undefined ? none : encodeAddress(address)
    const ancillary = control === undefined ? none : encodeControl(control)
    if (data.length > this.#payload.length) {
      throw new RangeError(`a message of ${data.length} bytes never fits in a batch of ${this.#payload.length}`)
    }
    if (ancillary.length > this.#controlSize) {
      throw new RangeError(`control of ${ancillary.length} bytes never fits in ${this.#controlSize}`)
    }
    if (this.#sent === this.#count) this.clear()
    if (this.#count === this.#most || this.#used + data.length > this.#payload.length) return false
    const i = this.#count++
    this.#payload.set(data, this.#used)
    this.#names.set(sockaddr, i * SOCKADDR_MAX)
    this.#control?.set(ancillary, i * this.#controlSize)
    this.#table.set([this.#used, data.length, sockaddr.length, ancillary.length], i * WORDS)
    this.#used += data.length
    return true
  }

  /**
   * Sends from the first pending message on. Returns how many were sent, 0 when none was pending, or `null` when the
   * first would block. An error belongs to the first pending message: `skip` it or try again.
   */
  send(socket: AsFd, flags = 0): number | null {
    if (this.pending === 0) return 0
    const result = native.sendmmsg(
      socket.fd,
      this.#payload,
      this.#names,
      this.#control,
      this.#table,
      this.#sent,
      this.pending,
      flags,
    )
    const sent = unlessBlocked(result, 'sendmmsg')
    this.#sent += sent ?? 0
    return sent
  }

  /** Drops the first pending message. */
  skip(): void {
    if (this.pending > 0) this.#sent++
  }

  /** Drops all pending messages. */
  clear(): void {
    this.#used = 0
    this.#count = 0
    this.#sent = 0
  }
}

/** Words per message in the table that the boundary reads and writes. */
const WORDS = 4
const none = new Uint8Array(0)
