import { type AddressLike, encodeAddress, readSockaddr, type SocketAddress } from './address.js'
import { checkBytes, checkFlags, checkInteger, checkOptions, type NamesOf } from './argument.js'
import type { Decoder } from './codecs/codec.js'
import { MSG_CMSG_CLOEXEC, MSG_CTRUNC } from './constants.js'
import {
  CONTROL_MAX,
  type ControlMessage,
  type ControlName,
  ControlReader,
  decodeControl,
  encodeControl,
  hasDescriptors,
  withoutNumbers,
} from './control.js'
import { unlessBlocked } from './error.js'
import { type FdLike, fdOf, type OwnedFd } from './fd.js'
import { type Brought, closeAll, takeDescriptors } from './message.js'
import { native, SOCKADDR_MAX } from './native.js'

/** The most messages that one call moves (`UIO_MAXIOV`). */
export const BATCH_MAX = 1024

/** The buffer sizes of a `ReceiveBatch`. */
export interface ReceiveBatchOptions {
  /** Messages per call, 1 … 1024. Default 32. */
  readonly count?: number | undefined
  /** Bytes for each message; longer datagrams are cut and flagged `MSG_TRUNC`. Default 2048; with `UDP_GRO` take 65535. */
  readonly size?: number | undefined
  /** Bytes of control buffer for each message, up to 1 MiB. Default 0. */
  readonly control?: number | undefined
  /** Like `recvMessage`'s: whether descriptors of a message that was cut (`MSG_CTRUNC`) are handed over. Default false. */
  readonly keepTruncated?: boolean | undefined
}

/** The names of the options. For this package's own use. */
export const RECEIVE_BATCH_OPTIONS: NamesOf<ReceiveBatchOptions> = {
  count: true,
  size: true,
  control: true,
  keepTruncated: true,
}

/**
 * recvmmsg(2): receives many datagrams in one call, into buffers that are reused; nothing is allocated per datagram.
 *
 *     const batch = new ReceiveBatch()
 *     const count = batch.receive(socket) ?? 0
 *     for (let i = 0; i < count; i++) handle(batch.data(i), batch.address(i))
 *
 * The next `receive` overwrites the buffers that `data` returned. A program that reads the descriptors of a message
 * (`descriptors`, `pidfd`) must close them. The next `receive`, or `drop`, closes those that it has not read.
 */
export class ReceiveBatch {
  /** The data of all messages: message i begins at `i * size`. */
  readonly payload: Buffer
  /** The number of messages per call. */
  readonly count: number
  /** The number of **bytes** for each message. */
  readonly size: number
  readonly #names: Uint8Array
  readonly #control: Uint8Array | null
  readonly #controlSize: number
  readonly #reader: ControlReader | undefined
  readonly #table: Int32Array
  readonly #keepTruncated: boolean
  readonly #brought = new Map<number, Brought>()
  /** Descriptors that the caller hasn't read yet, and that the batch closes. */
  readonly #unread = new Set<OwnedFd>()

  /** @throws TypeError, RangeError for invalid sizes */
  constructor(options: ReceiveBatchOptions = {}) {
    checkOptions(options, 'options', RECEIVE_BATCH_OPTIONS)
    const { count = 32, size = 2048, control = 0, keepTruncated = false } = options
    checkInteger(count, 1, BATCH_MAX, 'count')
    checkInteger(size, 1, 0x1000_0000, 'size')
    checkInteger(control, 0, CONTROL_MAX, 'control')
    this.count = count
    this.size = size
    this.payload = Buffer.alloc(count * size)
    this.#names = new Uint8Array(count * SOCKADDR_MAX)
    // Each message's share must begin where a cmsghdr may.
    this.#controlSize = Math.ceil(control / 8) * 8
    this.#control = control === 0 ? null : new Uint8Array(count * this.#controlSize)
    this.#reader = this.#control === null ? undefined : new ControlReader(this.#control)
    this.#table = new Int32Array(count * WORDS)
    this.#keepTruncated = keepTruncated
  }

  /**
   * Receives the waiting messages, at most `count`. Returns their number, or `null` if there is none.
   * @throws SystemError errors that the socket reports, such as `ECONNREFUSED`
   */
  receive(socket: FdLike, flags = 0): number | null {
    const fd = fdOf(socket, 'socket')
    checkFlags(flags)
    this.drop()
    this.#brought.clear()
    const result = native.recvmmsg(fd, this.payload, this.#names, this.#control, this.#table, this.count, flags)
    const count = unlessBlocked(result, 'recvmmsg')
    if (count === null) return null
    for (let i = 0; i < count; i++) if (this.#hasDescriptors(i)) this.#takeDescriptors(i)
    return count
  }

  /** The length of message i; it exceeds `size` only if `MSG_TRUNC` was among the flags of `receive`. */
  length(i: number): number {
    return this.#word(i, 0)
  }

  /** The kernel's flags of message i: `MSG_TRUNC`, `MSG_CTRUNC`. */
  flags(i: number): number {
    return this.#word(i, 3) & ~MSG_CMSG_CLOEXEC
  }

  /** The data of message i, as a view of `payload`. */
  data(i: number): Buffer {
    const length = Math.min(this.length(i), this.size)
    return this.payload.subarray(i * this.size, i * this.size + length)
  }

  /** The sender's address of message i; `null` if the sender has no name. */
  address(i: number): SocketAddress | null {
    return readSockaddr(this.sockaddr(i), this.#word(i, 1))
  }

  /** The sender's address of message i as bytes, overwritten by the next `receive`. Calls that send take it as it is. */
  sockaddr(i: number): Uint8Array {
    const length = Math.min(this.#word(i, 1), SOCKADDR_MAX)
    return this.#names.subarray(i * SOCKADDR_MAX, i * SOCKADDR_MAX + length)
  }

  /** The control messages of message i, in the kernel's order. Messages that carried descriptors have no data. */
  control(i: number): ControlMessage[] {
    return withoutNumbers(this.#allControl(i))
  }

  /**
   * The value of the first control message of this kind that came with message i, or undefined if there is none. It decodes
   * nothing else and copies nothing, so it is for programs that read a few kinds of many datagrams.
   * @throws TypeError for a row of another thing, such as an option; RangeError for `i` beyond the batch
   */
  readControl<T>(i: number, kind: ControlName & Decoder<T>): T | undefined {
    const length = this.#word(i, 2)
    return this.#reader?.read(i * this.#controlSize, Math.min(length, this.#controlSize), kind)
  }

  /**
   * The descriptors that came with message i (`SCM_RIGHTS`). The caller must close them. Empty if the message was cut
   * (`MSG_CTRUNC`), unless `keepTruncated` is set.
   */
  descriptors(i: number): readonly OwnedFd[] {
    const { descriptors } = this.#broughtBy(i)
    for (const descriptor of descriptors) this.#unread.delete(descriptor)
    return descriptors
  }

  /** The process that sent message i (`SCM_PIDFD`), on a socket with `SO_PASSPIDFD`. The caller must close it. */
  pidfd(i: number): OwnedFd | undefined {
    const { pidfd } = this.#broughtBy(i)
    if (pidfd !== undefined) this.#unread.delete(pidfd)
    return pidfd
  }

  /** Closes the descriptors that came with message i, or with any message, except those that you have read. */
  drop(i?: number): void {
    if (i !== undefined) checkInteger(i, 0, this.count - 1, 'i')
    if (this.#unread.size === 0) return
    const closing =
      i === undefined ? [...this.#unread] : ownersOf(this.#broughtBy(i)).filter((fd) => this.#unread.has(fd))
    for (const descriptor of closing) this.#unread.delete(descriptor)
    closeAll(closing)
  }

  #word(i: number, index: number): number {
    checkInteger(i, 0, this.count - 1, 'i')
    return this.#table[i * WORDS + index] as number
  }

  #allControl(i: number): ControlMessage[] {
    const length = this.#word(i, 2)
    if (this.#control === null) return []
    const start = i * this.#controlSize
    return decodeControl(this.#control.subarray(start, start + this.#controlSize), length)
  }

  // Looks without allocating, since datagrams with control messages are frequent and those with descriptors are rare.
  #hasDescriptors(i: number): boolean {
    const length = this.#word(i, 2)
    return this.#control !== null && length > 0 && hasDescriptors(this.#control, i * this.#controlSize, length)
  }

  #broughtBy(i: number): Brought {
    checkInteger(i, 0, this.count - 1, 'i')
    return this.#brought.get(i) ?? nothing
  }

  #takeDescriptors(i: number): void {
    const drop = !this.#keepTruncated && (this.flags(i) & MSG_CTRUNC) !== 0
    const brought = takeDescriptors(this.#allControl(i), drop)
    this.#brought.set(i, brought)
    for (const descriptor of ownersOf(brought)) this.#unread.add(descriptor)
  }
}

function ownersOf({ descriptors, pidfd }: Brought): OwnedFd[] {
  return pidfd === undefined ? [...descriptors] : [...descriptors, pidfd]
}

/** The buffer sizes of a `SendBatch`. */
export interface SendBatchOptions {
  /** Messages per batch, 1 … 1024. Default 32. */
  readonly count?: number | undefined
  /** Bytes for all messages together. Default 2048 per message. */
  readonly capacity?: number | undefined
  /** Bytes of control buffer for each message, up to 1 MiB. Default 0. */
  readonly control?: number | undefined
}

const SEND_BATCH_OPTIONS: NamesOf<SendBatchOptions> = { count: true, capacity: true, control: true }

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

  /** @throws TypeError, RangeError for invalid sizes */
  constructor(options: SendBatchOptions = {}) {
    checkOptions(options, 'options', SEND_BATCH_OPTIONS)
    const { count = 32, control = 0 } = options
    checkInteger(count, 1, BATCH_MAX, 'count')
    const { capacity = count * 2048 } = options
    checkInteger(capacity, 1, 0x1000_0000, 'capacity')
    checkInteger(control, 0, CONTROL_MAX, 'control')
    this.#most = count
    this.#payload = new Uint8Array(capacity)
    this.#names = new Uint8Array(count * SOCKADDR_MAX)
    this.#controlSize = Math.ceil(control / 8) * 8
    this.#control = control === 0 ? null : new Uint8Array(count * this.#controlSize)
    this.#table = new Int32Array(count * WORDS)
  }

  /** The number of messages added and not yet sent. */
  get pending(): number {
    return this.#count - this.#sent
  }

  /**
   * Adds a message. `control` is a list, or bytes from `encodeControl`, which save the encoding if they are used often.
   * Returns false, and adds nothing, if the batch is full.
   * @throws RangeError if data or control could not fit even in an empty batch; TypeError if `data` is not a `Uint8Array`
   * or `control` not a list of control messages
   */
  add(data: Uint8Array, address?: AddressLike, control: readonly ControlMessage[] | Uint8Array = none): boolean {
    checkBytes(data, 'data')
    const sockaddr = address === undefined ? none : encodeAddress(address)
    const ancillary = control instanceof Uint8Array ? control : encodeControl(control)
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
    if (ancillary.length > 0) this.#control?.set(ancillary, i * this.#controlSize)
    const row = i * WORDS
    this.#table[row] = this.#used
    this.#table[row + 1] = data.length
    this.#table[row + 2] = sockaddr.length
    this.#table[row + 3] = ancillary.length
    this.#used += data.length
    return true
  }

  /**
   * Sends from the first pending message on. Returns the number of messages sent, 0 if none was pending, or `null` if the
   * first would block (`Socket.sendTo` tells when `writable` helps then). An error belongs to the first pending message:
   * `skip` it or try again.
   */
  send(socket: FdLike, flags = 0): number | null {
    const fd = fdOf(socket, 'socket')
    checkFlags(flags)
    if (this.pending === 0) return 0
    const result = native.sendmmsg(
      fd,
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
const nothing: Brought = { descriptors: [], pidfd: undefined }
const none = new Uint8Array(0)
