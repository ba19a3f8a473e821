import {
  type AsFd,
  checkInteger,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  errno,
  F_SETPIPE_SZ,
  fcntl,
  getOption,
  ioctl,
  MSG_ERRQUEUE,
  type OwnedFd,
  pipe,
  recvMessage,
  SHUT_WR,
  SIOCATMARK,
  SO_ERROR,
  SO_LINGER,
  type Socket,
  SocketStream,
  SPLICE_F_NONBLOCK,
  SystemError,
  setOption,
  splice,
  tee,
  type Watch,
  watch,
  writev,
} from '@linux-sockets/native-core'

/** How two connections are relayed. */
export interface RelayOptions {
  /** Gives up: the promise rejects at once with the signal's reason, and both connections are reset. */
  readonly signal?: AbortSignal | undefined
  /** Fails with `ETIMEDOUT` when no byte has moved either way for so many **milliseconds**, at least 1. Default: it waits for ever. */
  readonly idleTimeout?: number | undefined
  /** Called whenever bytes have moved. The object is a new one each time. What it throws ends the relay. */
  readonly onProgress?: ((progress: RelayProgress) => void) | undefined
  /**
   * tee(2): where copies go of what passes. A tap is a non-blocking pipe or socket, or a file that isn't open for
   * appending; it stays open. What it takes slowly passes slowly: nothing is left out. When it fails, so does the relay.
   */
  readonly tap?: { readonly aToB?: AsFd | undefined; readonly bToA?: AsFd | undefined } | undefined
}

/** How much has passed. */
export interface Relayed {
  /** **Bytes** that came from `a` and that `b` has taken. */
  readonly aToB: number
  /** **Bytes** that came from `b` and that `a` has taken. */
  readonly bToA: number
}

/** How much has passed, and how much is on its way. */
export interface RelayProgress extends Relayed {
  /** **Bytes** taken from one side that the other hasn't taken yet. When the relay fails, they are lost. */
  readonly held: number
}

/**
 * splice(2): passes on what each of two connections sends to the other, without bringing it into the process, until both
 * have ended. Resolves to how much went each way.
 *
 *     const upstream = await connect(address, { stream: { allowHalfOpen: true } })
 *     const { aToB, bToA } = await relay(client, upstream)
 *
 * The relay takes both over, and closes them in every case; a `SocketStream` is destroyed. An end is passed on as an end
 * (`SHUT_WR`), after all that came before it, and the other direction goes on. A failure is passed on as a reset of both,
 * so that nobody takes for whole what was cut; the promise then rejects, and `onProgress` was told how far it came.
 *
 * For connected, non-blocking stream sockets of TCP and AF_UNIX; urgent data and descriptors are not passed on. Of a
 * `SocketStream` the bytes that it has read and nobody has taken are passed on first; let it have `allowHalfOpen`, or it
 * answers an end by itself before it comes here. Each direction holds no more than a pipe does, and moves about 1 MiB
 * before other sockets get their turn.
 *
 * @throws SystemError `ECONNRESET`, `EPIPE`, `ETIMEDOUT`, … of either connection; `EMFILE`; `EBADF` or `ECANCELED` when
 * somebody closes one of them meanwhile, or what a stream was destroyed with; those of the tap
 * @throws TypeError, RangeError for wrong options; the sockets then stay yours
 * @see {@link https://man7.org/linux/man-pages/man2/splice.2.html splice(2)}
 */
export async function relay(
  a: Socket | SocketStream,
  b: Socket | SocketStream,
  options: RelayOptions = {},
): Promise<Relayed> {
  const { signal, idleTimeout, onProgress, tap } = options
  if (idleTimeout !== undefined) checkInteger(idleTimeout, 1, 0x7fff_ffff, 'idleTimeout')
  if (a === b) throw new TypeError('a relay is between two connections')
  const limit = new AbortController()
  const late = () => limit.abort(new SystemError(errno.ETIMEDOUT, 'splice', `nothing moved for ${idleTimeout} ms`))
  const timer = idleTimeout === undefined ? undefined : setTimeout(late, idleTimeout)
  const abort = () => limit.abort(signal?.reason)
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  const moved = (progress: RelayProgress) => {
    timer?.refresh()
    onProgress?.(progress)
  }
  try {
    const taken = await takeBoth(a, b, limit.signal)
    return await relayTaken(taken, tap ?? {}, limit.signal, moved)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** A connection, and what was read from it before. */
interface Taken {
  readonly socket: Socket
  readonly unread: Uint8Array
  /** Whose the socket is. */
  readonly owner: Socket | SocketStream
}

async function takeBoth(
  a: Socket | SocketStream,
  b: Socket | SocketStream,
  signal: AbortSignal,
): Promise<[Taken, Taken]> {
  // A stream gives up its socket when its writes are out: never, where nobody reads them.
  const giveUp = () => {
    for (const end of [a, b]) if (end instanceof SocketStream) end.resetAndDestroy()
  }
  const takeOne = async (end: Socket | SocketStream): Promise<Taken> => {
    if (!(end instanceof SocketStream)) return { socket: end, unread: new Uint8Array(0), owner: end }
    try {
      return { ...(await end.surrender()), owner: end }
    } catch (error) {
      giveUp()
      throw error
    }
  }
  signal.addEventListener('abort', giveUp)
  if (signal.aborted) giveUp()
  const [first, second] = await Promise.allSettled([takeOne(a), takeOne(b)])
  signal.removeEventListener('abort', giveUp)
  if (first.status === 'fulfilled' && second.status === 'fulfilled') return [first.value, second.value]
  for (const result of [first, second]) if (result.status === 'fulfilled') close(result.value, true)
  signal.throwIfAborted()
  throw first.status === 'rejected' ? first.reason : (second as PromiseRejectedResult).reason
}

async function relayTaken(
  [a, b]: [Taken, Taken],
  tap: NonNullable<RelayOptions['tap']>,
  signal: AbortSignal,
  moved: (progress: RelayProgress) => void,
): Promise<Relayed> {
  const flows: Flow[] = []
  const gates: Gate[] = []
  let failed = true
  try {
    signal.throwIfAborted()
    const aToB = new Flow(a, b.socket, tap.aToB)
    flows.push(aToB)
    const bToA = new Flow(b, a.socket, tap.bToA)
    flows.push(bToA)
    await new Promise<void>((resolve, reject) => {
      let over = false
      const fail = (error: unknown) => {
        over = true
        reject(error)
      }
      const step = (flow: Flow) => {
        if (over) return
        const before = flow.taken + flow.given
        try {
          try {
            flow.turn()
          } finally {
            if (flow.taken + flow.given !== before) {
              moved({ aToB: aToB.given, bToA: bToA.given, held: aToB.held + bToA.held })
            }
          }
          if (!over) for (const gate of gates) gate.arm()
        } catch (error) {
          fail(error)
        }
        if (!aToB.done || !bToA.done) return
        over = true
        resolve()
      }
      gates.push(gateOf(a.socket, aToB, bToA, step, fail), gateOf(b.socket, bToA, aToB, step, fail))
      for (const flow of flows) if (flow.tap !== undefined) gates.push(gateOfTap(flow, flow.tap, step, fail))
      signal.addEventListener('abort', () => fail(signal.reason))
      for (const { owner } of [a, b]) {
        if (owner instanceof SocketStream) owner.once('close', () => fail(owner.errored ?? closedMeanwhile()))
      }
      for (const flow of flows) step(flow)
    })
    failed = false
    return { aToB: aToB.given, bToA: bToA.given }
  } finally {
    for (const gate of gates) gate.stop()
    for (const flow of flows) flow.close()
    for (const taken of [a, b]) close(taken, failed)
  }
}

function close({ socket, owner }: Taken, withReset: boolean): void {
  if (withReset && !socket.closed) setOption(socket, SO_LINGER, 0)
  if (owner instanceof SocketStream) owner.destroy()
  else owner.close()
}

function closedMeanwhile(): SystemError {
  return new SystemError(errno.EBADF, 'splice', 'closed while it was relayed')
}

/** One direction: from a socket through a pipe to the other. */
class Flow {
  readonly tap: AsFd | undefined
  /** **Bytes** that the source has given up, and that the sink has taken. */
  taken: number
  given = 0
  /** Whether the end has been passed on. */
  done = false
  /** What the next turn waits for. */
  needsInput = true
  needsRoom = false
  needsTapRoom = false

  readonly #source: Socket
  readonly #sink: Socket
  readonly #pipe: Pipe
  readonly #copy: Pipe | undefined
  /** What comes before the source's own bytes. */
  #head: Uint8Array
  /** **Bytes** in the pipe, those of them that may be passed on, and those that the tap hasn't taken yet. */
  #inPipe = 0
  #passable = 0
  #copied = 0

  constructor({ socket, unread }: Taken, sink: Socket, tap: AsFd | undefined) {
    this.#source = socket
    this.#sink = sink
    this.#head = unread
    this.taken = unread.length
    this.tap = tap
    this.#pipe = largePipe()
    try {
      this.#copy = tap && largePipe()
    } catch (error) {
      this.close()
      throw error
    }
  }

  get held(): number {
    return this.taken - this.given
  }

  /** Moves what can be moved, up to a bound, and sets what to wait for. */
  turn(): void {
    this.needsInput = this.needsRoom = this.needsTapRoom = false
    let left = PER_TURN
    do {
      if (this.#passable === 0 && this.#copied === 0) {
        if (this.#inPipe === 0) {
          const count = left > 0 || this.#head.length > 0 ? this.#fill() : null
          if (count === null) this.needsInput = true
          if (count === 0) this.#end()
          if (!count) return
          left -= count
        }
        this.#duplicate()
      }
      this.#pass()
      this.#passToTap()
    } while (!this.needsRoom && !this.needsTapRoom)
  }

  close(): void {
    for (const { read, write } of [this.#pipe, this.#copy ?? this.#pipe]) {
      read.close()
      write.close()
    }
  }

  /**
   * Bytes into the empty pipe; `null` when there are none, 0 at the end. Into a pipe that holds something, EAGAIN would
   * leave open which side is meant: a pipe is full when it holds so many pieces, of whatever size.
   */
  #fill(): number | null {
    if (this.#head.length > 0) {
      const count = writev(this.#pipe.write, [this.#head])
      this.#inPipe = count ?? 0
      this.#head = this.#head.subarray(this.#inPipe)
      return count
    }
    const count = splice(this.#source, this.#pipe.write, PER_TURN, SPLICE_F_NONBLOCK)
    this.#inPipe = count ?? 0
    this.taken += this.#inPipe
    return count || !isAtMark(this.#source) ? count : this.#stepOverMark()
  }

  /** At urgent data splice(2) says EAGAIN, or even that this is the end, whatever stands behind it. */
  #stepOverMark(): number | null {
    const behind = Buffer.allocUnsafe(4096)
    const count = this.#source.recv(behind)
    if (!count) return count
    this.#head = behind.subarray(0, count)
    this.taken += count
    return this.#fill()
  }

  /** tee(2) always begins with what is first in the pipe, so that must be out on both ways before the next. */
  #duplicate(): void {
    this.#passable = this.#inPipe
    if (this.#copy === undefined) return
    this.#copied = this.#passable = tee(this.#pipe.read, this.#copy.write, this.#inPipe, SPLICE_F_NONBLOCK) ?? 0
    this.needsTapRoom = this.#copied === 0
  }

  #pass(): void {
    if (this.#passable === 0) return
    const count = splice(this.#pipe.read, this.#sink, this.#passable, SPLICE_F_NONBLOCK) ?? 0
    this.#passable -= count
    this.#inPipe -= count
    this.given += count
    this.needsRoom = this.#passable > 0
  }

  #passToTap(): void {
    if (this.#copied === 0 || this.#copy === undefined || this.tap === undefined) return
    let count: number | null
    do {
      count = splice(this.#copy.read, this.tap, this.#copied, SPLICE_F_NONBLOCK)
      this.#copied -= count ?? 0
    } while (count !== null && this.#copied > 0)
    // Not after a part, as above: a file takes all, and can't be waited for.
    this.needsTapRoom = count === null
  }

  #end(): void {
    this.#sink.shutdown(SHUT_WR)
    this.done = true
  }
}

/** Watches one descriptor for what the flows need of it, and not at all for what would be reported for ever. */
class Gate {
  readonly #target: AsFd
  readonly #wants: () => number
  readonly #ready: (events: number) => void
  readonly #fail: (error: unknown) => void
  #watch: Watch | undefined

  constructor(target: AsFd, wants: () => number, ready: (events: number) => void, fail: (error: unknown) => void) {
    this.#target = target
    this.#wants = wants
    this.#ready = ready
    this.#fail = fail
  }

  arm(): void {
    const wanted = this.#wants()
    if (this.#watch !== undefined) this.#watch.update(wanted)
    else if (wanted !== 0) this.#watch = watch(this.#target, wanted, this.#ready, { ended: this.#ended })
  }

  stop(): void {
    this.#watch?.stop()
    this.#watch = undefined
  }

  readonly #ended = (): void => {
    this.#fail(closedMeanwhile())
  }
}

type Step = (flow: Flow) => void
type Fail = (error: unknown) => void

function gateOf(socket: Socket, from: Flow, to: Flow, step: Step, fail: Fail): Gate {
  const gate = new Gate(
    socket,
    () => (from.needsInput ? EPOLLIN : 0) | (to.needsRoom ? EPOLLOUT : 0),
    (events) => {
      const broken = (events & (EPOLLERR | EPOLLHUP)) !== 0
      if ((events & (EPOLLERR | EPOLLHUP)) === EPOLLERR) dropNotices(socket)
      const waited = from.needsInput || to.needsRoom
      if (from.needsInput && (broken || (events & EPOLLIN) !== 0)) step(from)
      if (to.needsRoom && (broken || (events & EPOLLOUT) !== 0)) step(to)
      // A flow that waited has met the failure. Otherwise nobody asks before the other socket moves, if it ever does.
      if (!broken || waited) return
      const failure = socket.closed ? 0 : getOption(socket, SO_ERROR)
      if (failure !== 0) fail(new SystemError(failure, 'splice'))
      else gate.stop()
    },
    fail,
  )
  return gate
}

/** What fails while nobody waits for it shows with the next splice. */
function gateOfTap(flow: Flow, tap: AsFd, step: Step, fail: Fail): Gate {
  const gate = new Gate(
    tap,
    () => (flow.needsTapRoom ? EPOLLOUT : 0),
    () => (flow.needsTapRoom ? step(flow) : gate.stop()),
    fail,
  )
  return gate
}

function isAtMark(socket: Socket): boolean {
  try {
    return ioctl(socket, SIOCATMARK) !== 0
  } catch {
    // AF_UNIX of kernels without urgent data.
    return false
  }
}

/** An error queue that nobody reads would wake the loop for ever. */
function dropNotices(socket: Socket): void {
  let left = NOTICES_PER_TURN
  while (left-- > 0 && recvMessage(socket, [], { flags: MSG_ERRQUEUE }) !== null);
}

interface Pipe {
  readonly read: OwnedFd
  readonly write: OwnedFd
}

function largePipe(): Pipe {
  const made = pipe()
  try {
    fcntl(made.write, F_SETPIPE_SZ, PIPE_SIZE)
  } catch {
    // Beyond fs.pipe-user-pages-soft a user gets no larger ones: it goes on with what there is.
  }
  return made
}

/** **Bytes** that one direction moves before others get their turn. */
const PER_TURN = 1024 * 1024

/** **Bytes**; counted in pages, of which each piece of a packet takes one. */
const PIPE_SIZE = 256 * 1024

const NOTICES_PER_TURN = 64
