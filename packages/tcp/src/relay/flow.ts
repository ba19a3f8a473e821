// One direction of a relay.
//
// Invariant: bytes leave in the order in which they came: #rest, then the pipe, then the source. New bytes are taken only
// when all earlier ones are delivered, so at most one piece is held. Between turns nothing is held in the slab, and only a
// pipe with bytes in it is kept; after a turn, `over` is set or at least one condition to wait for is.
import { type FdLike, ioctl, type Socket, splice, tee, writev } from '@linux-sockets/native-core'
import { SHUT_WR, SIOCATMARK, SPLICE_F_NONBLOCK } from '@linux-sockets/native-core/constants'
import { type End, NOTHING, type Side } from './end.js'
import { closePipe, leavePipe, type Pipe, takePipe } from './pipe.js'

/** One direction: from one socket to the other, through memory or through a pipe. */
export class Flow {
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

function isAtMark(socket: Socket): boolean {
  try {
    return ioctl(socket, SIOCATMARK) !== 0
  } catch {
    // AF_UNIX on kernels that have no urgent data for it.
    return false
  }
}

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
