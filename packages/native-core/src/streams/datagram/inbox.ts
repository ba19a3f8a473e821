// Receives the datagrams of a channel, in batches, and delivers them to the handler or to iterators.
//
// Invariant: the kernel is asked for datagrams only while one is wanted and all earlier ones are delivered, so at most one
// batch waits here: its messages #at … #count − 1. Each is delivered once, in the order of arrival, or dropped when the inbox
// ends. While a datagram is wanted, the watch (EPOLLIN), a turn, or the timer of a rest will bring it. A turn and the watch may
// both be due: the second finds what the first has left.
import type { SocketAddress } from '../../address.js'
import type { ReceiveBatch } from '../../batch.js'
import { EPOLLHUP, EPOLLIN, EPOLLRDHUP, MSG_CTRUNC, MSG_TRUNC, SOCK_SEQPACKET } from '../../constants.js'
import type { DatagramBatch, DatagramHandlers, DatagramView, IncomingDatagram } from './types.js'
import { BatchView, BatchViews, copyOf } from './view.js'
import type { WatchedSocket } from './watched.js'

/** The events that an inbox waits for. */
export const READ = EPOLLIN | EPOLLRDHUP

export class Inbox<Address extends SocketAddress> {
  /** The counts, always up to date. */
  readonly statistics = { received: 0, bytesRead: 0, truncated: 0, controlTruncated: 0 }
  readonly #watched: WatchedSocket<Address>
  readonly #handlers: DatagramHandlers<Address>
  readonly #budget: number
  readonly #isSeqpacket: boolean
  readonly #batch: ReceiveBatch
  readonly #view: BatchView<Address>
  readonly #views: BatchViews<Address>
  #at = 0
  #count = 0
  #waiting: Waiting<Address>[] = []
  #paused = false
  /** Consecutive turns in which receiving failed. */
  #faults = 0
  #resting = false
  /** The kernel has reported that no more will come, but earlier datagrams may still be waiting. */
  #readClosed = false
  #ended = false
  #reason: unknown

  constructor(
    watched: WatchedSocket<Address>,
    handlers: DatagramHandlers<Address>,
    batch: ReceiveBatch,
    budget: number,
  ) {
    this.#watched = watched
    this.#handlers = handlers
    this.#budget = budget
    this.#isSeqpacket = watched.type === SOCK_SEQPACKET
    this.#batch = batch
    this.#view = new BatchView(batch)
    this.#views = new BatchViews(this.#view)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#arm()
  }

  iterate(): AsyncIterableIterator<IncomingDatagram<Address>> {
    if (this.#hasHandler) throw new TypeError('this channel passes its datagrams to a handler')
    const iterator: AsyncIterableIterator<IncomingDatagram<Address>> = {
      next: () => this.#next(iterator),
      return: async () => {
        for (const { resolve } of this.#waiting.filter(({ owner }) => owner === iterator)) resolve(DONE)
        this.#waiting = this.#waiting.filter(({ owner }) => owner !== iterator)
        return DONE
      },
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }

  ready(events: number): void {
    if ((events & (EPOLLRDHUP | EPOLLHUP)) !== 0) this.#readClosed = true
    if (this.#isWanted) this.read()
    else if ((events & READ) !== 0) this.#watched.unwant(READ)
  }

  /** Ends the delivery of datagrams for good. With a reason, what waits for one rejects with it, and what asks later does. */
  end(reason?: unknown): void {
    this.#ended = true
    this.#reason ??= reason
    while (this.#at < this.#count) this.#batch.drop(this.#at++)
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (reason === undefined) resolve(DONE)
      else reject(reason)
    }
  }

  /** Whether a handler or an iterator wants a datagram now. */
  get #isWanted(): boolean {
    if (this.#paused || this.#ended || this.#resting) return false
    return this.#hasHandler || this.#waiting.length > 0
  }

  get #hasHandler(): boolean {
    return this.#handlers.datagram !== undefined || this.#handlers.batch !== undefined
  }

  /** Arranges for the next datagram if one is wanted. Stale interest is dropped on the next event. */
  #arm(): void {
    if (!this.#isWanted) return
    if (this.#at < this.#count) this.#watched.takeTurn()
    else this.#watched.want(READ)
  }

  #next(owner: object): Promise<IteratorResult<IncomingDatagram<Address>>> {
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) reject(this.#reason)
      else if (this.#ended) resolve(DONE)
      else {
        this.#waiting.push({ owner, resolve, reject })
        this.#deliver()
        this.#arm()
      }
    })
  }

  /** Delivers what is left of the batch, then receives, as long as datagrams are wanted and the budget lasts. */
  read(): void {
    let budget = this.#budget
    let drained = false
    try {
      for (;;) {
        this.#deliver()
        if (!this.#isWanted || drained || budget <= 0) break
        const count = this.#receive()
        if (count === 0) break
        budget -= count
        drained = count < this.#batch.count
      }
    } finally {
      // Also after a handler has thrown.
      this.#arm()
    }
  }

  /** Receives a batch. Returns the number of its datagrams. */
  #receive(): number {
    // With MSG_TRUNC the kernel tells the true length of datagrams that are cut.
    const count = this.#watched.ask(() => this.#batch.receive(this.#watched.socket, MSG_TRUNC))
    if (count === undefined) {
      if (!this.#watched.closed) this.#fault()
      return 0
    }
    this.#faults = 0
    this.#at = 0
    this.#count = count ?? 0
    if (count === null && this.#readClosed) this.#finish()
    return this.#count
  }

  /** Delivers received datagrams while they are wanted. */
  #deliver(): void {
    if (this.#handlers.batch !== undefined) this.#deliverBatch(this.#handlers.batch)
    while (this.#at < this.#count && this.#isWanted) {
      const i = this.#at++
      if (this.#isSeqpacket && this.#isEnd(i)) {
        this.#finish()
        break
      }
      this.#countReceived(i)
      if (this.#handlers.datagram === undefined)
        this.#waiting.shift()?.resolve({ done: false, value: copyOf(this.#batch, i) })
      else this.#handle(i, this.#handlers.datagram)
    }
  }

  #deliverBatch(handler: (batch: DatagramBatch<Address>) => void): void {
    if (this.#at === this.#count || !this.#isWanted) return
    const first = this.#at
    while (this.#at < this.#count && !(this.#isSeqpacket && this.#isEnd(this.#at))) this.#countReceived(this.#at++)
    const end = this.#at
    const ended = end < this.#count
    this.#views.show(first, end)
    try {
      if (first < end) handler.call(this.#handlers, this.#views)
    } finally {
      this.#views.show(0, 0)
      this.#batch.drop()
      if (ended) this.#finish()
    }
  }

  #handle(i: number, handler: (datagram: DatagramView<Address>) => void): void {
    this.#view.show(i)
    try {
      handler.call(this.#handlers, this.#view)
    } finally {
      this.#view.release()
    }
  }

  /** Whether message i, if it is empty, is the end of the connection, which comes without control messages. */
  #isEnd(i: number): boolean {
    if (this.#batch.length(i) > 0 || (this.#batch.flags(i) & MSG_CTRUNC) !== 0) return false
    return this.#batch.control(i).length === 0
  }

  #countReceived(i: number): void {
    const flags = this.#batch.flags(i)
    this.statistics.received++
    this.statistics.bytesRead += Math.min(this.#batch.length(i), this.#batch.size)
    if ((flags & MSG_TRUNC) !== 0) this.statistics.truncated++
    if ((flags & MSG_CTRUNC) !== 0) this.statistics.controlTruncated++
  }

  /** Reporting a network error clears it; an error that persists is of another kind, so receiving then rests or ends. */
  #fault(): void {
    if (++this.#faults < FAULTS) return
    this.#faults = 0
    if (this.#watched.hungUp) {
      this.#finish()
    } else {
      this.#watched.unwant(READ)
      this.#resting = true
      this.#watched.after(REST, () => {
        this.#resting = false
        this.#arm()
      })
    }
  }

  /** Nothing more can be received. */
  #finish(): void {
    this.end()
    this.#watched.afterwards(() => this.#handlers.end?.())
  }
}

/** The number of consecutive turns in which receiving may fail before it rests. */
const FAULTS = 16

/** The length of a rest, in milliseconds. */
const REST = 64

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

interface Waiting<Address extends SocketAddress> {
  /** The iterator that waits. */
  readonly owner: object
  resolve(result: IteratorResult<IncomingDatagram<Address>>): void
  reject(reason: unknown): void
}
