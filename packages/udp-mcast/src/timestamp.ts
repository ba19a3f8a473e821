import {
  type ControlMessage,
  controlMessage,
  encodeControl,
  errno,
  type FdLike,
  getOption,
  readControl,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
import {
  SOF_TIMESTAMPING_OPT_CMSG,
  SOF_TIMESTAMPING_OPT_ID,
  SOF_TIMESTAMPING_OPT_TSONLY,
  SOF_TIMESTAMPING_RAW_HARDWARE,
  SOF_TIMESTAMPING_SOFTWARE,
  SOF_TIMESTAMPING_TX_HARDWARE,
  SOF_TIMESTAMPING_TX_SOFTWARE,
} from '@linux-sockets/native-core/constants'
import { SO_TIMESTAMPING } from '@linux-sockets/native-core/options'
import type { OutgoingDatagram, SendOptions } from '@linux-sockets/native-core/streams'
import { CMSG_SO_TIMESTAMPING, SCM_TIMESTAMPING, SCM_TS_OPT_ID, type Timestamps } from './control.js'
import { CMSG_IP_RECVERR, CMSG_IPV6_RECVERR, SO_EE_ORIGIN_TIMESTAMPING } from './neterror.js'
import { withMessage } from './sending.js'

/**
 * Matches the time stamps in a socket's error queue to its sends. Each send gets a number of ours (`SCM_TS_OPT_ID`). A kernel
 * before 6.13 refuses that, and numbers the sends that ask for a stamp in the order in which it takes them.
 *
 * Invariant: each promise of `send` has an entry in #pending, or is to get one when the kernel takes the datagram; it settles
 * with the stamp, the refusal, the time limit or `close`.
 */
export class TransmitTimestamps {
  readonly #socket: FdLike
  readonly #pending = new Map<number, (stamp: Timestamps) => void>()
  readonly #unsettled = new Set<(reason: unknown) => void>()
  #isOn = false
  #next = 0
  #kernelNumbers = false
  #taken = 0

  constructor(socket: FdLike) {
    this.#socket = socket
  }

  /** Sends by `transmit`, which must call `settled` of its options, and resolves with the stamp. */
  send(
    transmit: (outgoing: OutgoingDatagram) => void,
    { data, address, options: { control = [] } = {} }: OutgoingDatagram,
    timeout: number,
  ): Promise<Timestamps> {
    this.#turnOn()
    const asking = withMessage(control instanceof Uint8Array ? control : encodeControl(control), ASK)
    return new Promise((resolve, reject) => {
      let id: number | undefined
      const end = () => {
        clearTimeout(timer)
        this.#unsettled.delete(fail)
        if (id !== undefined) this.#pending.delete(id)
      }
      const fail = (reason: unknown) => {
        end()
        reject(reason)
      }
      const waitFor = (number: number) => {
        id = number
        this.#pending.set(id, (stamp) => {
          end()
          resolve(stamp)
        })
      }
      const timer = setTimeout(() => {
        fail(new SystemError(errno.ETIMEDOUT, 'sendmsg', `no transmit time stamp within ${timeout} ms (timeout)`))
      }, timeout)
      this.#unsettled.add(fail)
      const counted: SendOptions = {
        control: asking,
        settled: (error) => {
          if (error !== undefined) fail(error)
          else if (this.#unsettled.has(fail)) waitFor(this.#taken++)
          else this.#taken++
        },
      }
      try {
        if (this.#kernelNumbers) {
          transmit({ data, address, options: counted })
          return
        }
        waitFor(this.#next++ >>> 0)
        const numbered: SendOptions = {
          control: withMessage(asking, controlMessage(SCM_TS_OPT_ID, id as unknown as number)),
          replace: ({ code }) => {
            if (code !== 'EINVAL' || this.#taken > 0 || this.#isNumbering) return undefined
            this.#kernelNumbers = true
            return [{ data, address, options: counted }]
          },
          settled: (error) => {
            if (error !== undefined) fail(error)
            else this.#isNumbering = true
          },
        }
        transmit({ data, address, options: numbered })
      } catch (error) {
        fail(error)
      }
    })
  }

  /** The kernel has taken a number of ours. */
  #isNumbering = false

  /** Takes a message of the error queue, and returns whether it is a time stamp. */
  take(control: readonly ControlMessage[]): boolean {
    const about = readControl(control, CMSG_IP_RECVERR) ?? readControl(control, CMSG_IPV6_RECVERR)
    if (about?.origin !== SO_EE_ORIGIN_TIMESTAMPING) return false
    const stamp = readControl(control, SCM_TIMESTAMPING)
    if (stamp !== undefined) this.#pending.get(about.data)?.(stamp)
    return true
  }

  close(): void {
    const canceled = new SystemError(errno.ECANCELED, 'sendmsg', 'closed before the transmit time stamp came')
    for (const fail of [...this.#unsettled]) fail(canceled)
  }

  #turnOn(): void {
    if (this.#isOn) return
    setOption(this.#socket, SO_TIMESTAMPING, getOption(this.#socket, SO_TIMESTAMPING) | REPORT)
    this.#isOn = true
  }
}

const ASK = controlMessage(CMSG_SO_TIMESTAMPING, SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_HARDWARE)

/** OPT_TSONLY: without the data, which a program may not be allowed to see (`net.core.tstamp_allow_data`). */
const REPORT =
  SOF_TIMESTAMPING_SOFTWARE |
  SOF_TIMESTAMPING_RAW_HARDWARE |
  SOF_TIMESTAMPING_OPT_ID |
  SOF_TIMESTAMPING_OPT_TSONLY |
  SOF_TIMESTAMPING_OPT_CMSG
