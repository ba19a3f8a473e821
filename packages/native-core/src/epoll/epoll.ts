import { checkFlags, checkInt32, describe } from '../argument.js'
import { check } from '../error.js'
import { adoptAs, type FdLike, fdOf, type OwnedFd } from '../fd.js'
import { native } from '../native.js'

/** The words per event in the array that `epollWait` fills: the events, and the low and high half of the data. */
export const EPOLL_EVENT_WORDS = 3

/** epoll_create1(2), closed on exec. */
export function epollCreate(): OwnedFd {
  return adoptAs('epoll instance', check(native.epoll_create1(0), 'epoll_create1'))
}

/**
 * epoll_ctl(2): adds, changes (`EPOLL_CTL_MOD`) or removes a descriptor's interest. The two words of data are returned with
 * its events.
 * @throws SystemError `EEXIST`, `ENOENT`, `EPERM` (a file that can't be waited for), `ELOOP`, `ENOSPC`
 * @throws TypeError, RangeError for invalid arguments
 */
export function epollControl(
  epoll: FdLike,
  operation: number,
  target: FdLike,
  events = 0,
  dataLow = 0,
  dataHigh = 0,
): void {
  const [epfd, fd] = [fdOf(epoll, 'epoll'), fdOf(target, 'target')]
  checkInt32(operation, 'operation')
  checkFlags(events, 'events')
  checkFlags(dataLow, 'dataLow')
  checkFlags(dataHigh, 'dataHigh')
  check(native.epoll_ctl(epfd, operation, fd, events, dataLow, dataHigh), 'epoll_ctl')
}

/**
 * epoll_pwait2(2): waits for events and writes them to `events`, three words each. Returns the number of events, 0 after
 * the timeout. `timeout` is in **milliseconds**, fractions down to the nanosecond; 0 doesn't wait; −1 and `Infinity` wait
 * forever. A signal does not end the wait. Waiting stops the whole thread, so it is for Workers. Kernels before 5.11 round
 * up to whole milliseconds.
 * @throws TypeError, RangeError for any other timeout: NaN, other negative numbers, more than 104 days; for an array
 * without room for an event
 */
export function epollWait(epoll: FdLike, events: Uint32Array, timeout = 0): number {
  const fd = fdOf(epoll, 'epoll')
  checkEventWords(events)
  const nanoseconds = toNanoseconds(timeout)
  const most = Math.floor(events.length / EPOLL_EVENT_WORDS)
  return check(native.epoll_pwait2(fd, events, most, nanoseconds), 'epoll_pwait2')
}

/**
 * Checks an array that events are written to. For this package's own use.
 * @throws TypeError, RangeError
 */
export function checkEventWords(events: Uint32Array): void {
  if (!(events instanceof Uint32Array)) throw new TypeError(`events must be a Uint32Array, not ${describe(events)}`)
  if (events.length < EPOLL_EVENT_WORDS) {
    throw new RangeError(`events must have room for an event, ${EPOLL_EVENT_WORDS} words, not ${events.length}`)
  }
}

function toNanoseconds(timeout: number): number {
  if (typeof timeout !== 'number' || Number.isNaN(timeout)) {
    throw new TypeError(`timeout must be a number of milliseconds, not ${timeout}`)
  }
  if (timeout === -1 || timeout === Number.POSITIVE_INFINITY) return -1
  if (timeout < 0 || timeout > LONGEST) {
    throw new RangeError(`timeout must be -1, Infinity or from 0 to ${LONGEST} milliseconds, not ${timeout}`)
  }
  return Math.ceil(timeout * 1e6)
}

/** The longest timeout in whole milliseconds; in nanoseconds, a longer one would not be a safe integer. */
const LONGEST = Math.floor(Number.MAX_SAFE_INTEGER / 1e6)
