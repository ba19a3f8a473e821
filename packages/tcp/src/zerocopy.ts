import {
  type ControlMessage,
  errno,
  recvMessage,
  type Socket,
  SystemError,
  setOption,
  type Watch,
  watch,
  writable,
} from '@linux-sockets/native-core'
import { EPOLLHUP, MSG_ERRQUEUE, MSG_ZEROCOPY } from '@linux-sockets/native-core/constants'
import { checkBytes, checkSocket, checkStreamOptions } from '@linux-sockets/native-core/internal'
import { IP_RECVERR, IPV6_RECVERR, SO_LINGER, SO_ZEROCOPY } from '@linux-sockets/native-core/options'
import { SocketStream, type SocketStreamOptions } from '@linux-sockets/native-core/streams'

/** The result of `sendZeroCopy`. */
export interface ZeroCopySent {
  /**
   * Whether the kernel has copied the data after all: over loopback, for a device that needs a copy, or for lack of memory.
   */
  readonly copied: boolean
}

/**
 * A TCP stream that can also send without a copy: the device reads the caller's own memory.
 *
 *     const stream = new ZeroCopyStream((await (await connect(address)).detach()).socket)
 *     const { copied } = await stream.sendZeroCopy(large)
 *     large.fill(0) // it is ours again
 *
 * It pays off for pieces of about 10 KB and more that leave the machine. If `copied` is true, plain writes would have been
 * cheaper.
 *
 * The stream doesn't finish until the kernel has released all memory. If it is destroyed earlier, it resets the connection:
 * otherwise the kernel would continue to send from memory that may be used for something else.
 * @see {@link https://docs.kernel.org/networking/msg_zerocopy.html msg_zerocopy}
 */
export class ZeroCopyStream extends SocketStream {
  /**
   * The loan of each call of send(2), keyed by the kernel's number of the call: it counts calls that sent something, modulo
   * 2³².
   */
  readonly #lent = new Map<number, Loan>()
  #next = 0
  /** Watches for notices while memory is lent. */
  #noticed: Watch | undefined
  #later: NodeJS.Timeout | undefined
  /** Callbacks to run at the next notice. */
  #waiting: (() => void)[] = []

  /**
   * Takes over `socket`, as `SocketStream` does, and turns on `SO_ZEROCOPY`.
   * @throws SystemError `ENOTSUP` for sockets other than TCP's, and before Linux 4.14
   * @throws TypeError, RangeError for invalid arguments. After any exception the caller still owns the socket.
   */
  constructor(socket: Socket, options: SocketStreamOptions = {}) {
    checkSocket(socket, 'socket')
    checkStreamOptions(options)
    setOption(socket, SO_ZEROCOPY, true)
    super(socket, options)
  }

  /**
   * send(2) with `MSG_ZEROCOPY`, in order with the writes. Resolves when the kernel no longer needs `data`, which is when
   * the peer has acknowledged it or the connection is gone. Until then its bytes must not change.
   *
   * At the limit of `net.core.optmem_max` or `RLIMIT_MEMLOCK` it waits for earlier sends to be done; if there are none, it
   * lets the kernel copy.
   * @throws SystemError `EPIPE`, `ECONNRESET`, … of the connection; `ECANCELED` if the stream is destroyed earlier
   */
  async sendZeroCopy(data: Uint8Array): Promise<ZeroCopySent> {
    checkBytes(data, 'data')
    const loan = new Loan(data)
    try {
      await this.lend((sent) => this.#sendAll(loan, sent))
    } catch (error) {
      throw this.errored ?? error
    }
    loan.sentAll()
    await loan.returned
    return { copied: loan.copied }
  }

  protected override drainErrorQueue(): void {
    this.#takeNotices()
  }

  /** Waits until all lent memory has come back before the socket is closed. */
  override _final(callback: (error?: Error | null) => void): void {
    super._final((error) => {
      if (error) callback(error)
      else this.#whenReturned(callback)
    })
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // A signal that is already aborted destroys the stream during its construction.
    if (!(#lent in this)) {
      super._destroy(error, callback)
      return
    }
    try {
      this.#takeNotices()
      if (this.#lent.size > 0 && !this.socket.closed) setOption(this.socket, SO_LINGER, 0)
    } catch {
      // The socket is closed in any case.
    }
    const reason = error ?? new SystemError(errno.ECANCELED, 'send', 'the stream was destroyed')
    for (const loan of this.#lent.values()) loan.fail(reason)
    this.#lent.clear()
    this.#rest()
    super._destroy(error, callback)
    this.#wake()
  }

  async #sendAll(loan: Loan, sent: (bytes: number) => void): Promise<void> {
    for (let at = 0; at < loan.data.length; ) {
      const count = this.#send(loan, at)
      if (count === 'full') await new Promise<void>((resolve) => this.#waiting.push(resolve))
      else if (count === null) await writable(this.socket)
      else {
        at += count
        sent(count)
      }
    }
  }

  #send(loan: Loan, at: number): number | null | 'full' {
    try {
      const count = this.socket.send(loan.data, MSG_ZEROCOPY, at)
      if (count !== null) this.#lend(loan)
      return count
    } catch (error) {
      if ((error as SystemError).code !== 'ENOBUFS') throw error
    }
    if (this.#lent.size > 0) return 'full'
    loan.copied = true
    return this.socket.send(loan.data, 0, at)
  }

  #lend(loan: Loan): void {
    loan.calls++
    this.#lent.set(this.#next, loan)
    this.#next = (this.#next + 1) >>> 0
    // The stream's own watch ends when nothing is left to be read.
    this.#noticed ??= watch(this.socket, 0, this.#notice)
  }

  readonly #notice = (events: number): void => {
    this.#takeNotices()
    // A connection that is over reports EPOLLHUP forever, and the device may give the last notices a moment later.
    if ((events & EPOLLHUP) === 0 || this.#lent.size === 0) return
    this.#noticed?.stop()
    this.#later ??= setTimeout(() => {
      this.#later = undefined
      this.#notice(events)
    }, LATER)
  }

  #takeNotices(): void {
    if (this.socket.closed) return
    for (let left = NOTICES_PER_TURN; left > 0; left--) {
      const message = recvMessage(this.socket, [], { control, flags: MSG_ERRQUEUE })
      if (message === null) break
      for (const part of message.control) this.#return(part)
    }
    if (this.#lent.size === 0) this.#rest()
    this.#wake()
  }

  #return(message: ControlMessage): void {
    const notice = readNotice(message)
    if (notice === undefined) return
    for (let id = notice.first, left = ((notice.last - id) >>> 0) + 1; left > 0; left--, id = (id + 1) >>> 0) {
      const loan = this.#lent.get(id)
      this.#lent.delete(id)
      loan?.returnCall(notice.copied)
    }
  }

  #rest(): void {
    clearTimeout(this.#later)
    this.#later = undefined
    this.#noticed?.stop()
    this.#noticed = undefined
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  #whenReturned(callback: () => void): void {
    if (this.#lent.size === 0) callback()
    else this.#waiting.push(() => this.#whenReturned(callback))
  }
}

/** Memory that the kernel reads; the reference keeps it from being collected. */
class Loan {
  readonly data: Uint8Array
  readonly returned: Promise<void>
  /** The number of calls of send(2) whose notices have not come yet. */
  calls = 0
  copied = false
  #sentAll = false
  #resolve!: () => void
  #reject!: (reason: Error) => void

  constructor(data: Uint8Array) {
    this.data = data
    this.returned = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // If sending fails, the caller gets that error.
    this.returned.catch(() => {})
  }

  sentAll(): void {
    this.#sentAll = true
    if (this.calls === 0) this.#resolve()
  }

  returnCall(copied: boolean): void {
    this.calls--
    this.copied ||= copied
    if (this.calls === 0 && this.#sentAll) this.#resolve()
  }

  fail(reason: Error): void {
    this.#reject(reason)
  }
}

/** Decodes `struct sock_extended_err` if it is a notice that the calls `first` … `last` are done. */
function readNotice({
  level,
  type,
  data,
}: ControlMessage): { first: number; last: number; copied: boolean } | undefined {
  const isError = [IP_RECVERR, IPV6_RECVERR].some((row) => row.level === level && row.option === type)
  if (!isError || data.length < 16 || data[4] !== SO_EE_ORIGIN_ZEROCOPY) return undefined
  const view = new DataView(data.buffer, data.byteOffset)
  const copied = ((data[6] as number) & SO_EE_CODE_ZEROCOPY_COPIED) !== 0
  return { first: view.getUint32(8, true), last: view.getUint32(12, true), copied }
}

// <linux/errqueue.h>
const SO_EE_ORIGIN_ZEROCOPY = 5
const SO_EE_CODE_ZEROCOPY_COPIED = 1

/** Room for a notice with its address, and for time stamps. */
const control = new Uint8Array(256)

const NOTICES_PER_TURN = 64

/** The time until the error queue is read again after the connection is over, in **milliseconds**. */
const LATER = 10
