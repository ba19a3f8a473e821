/** Policies that block everything outgoing, to see that the kernel obeys them. */
import type { Need } from '@linux-sockets/testkit'
import { expect } from 'vitest'
import { IPPROTO_IP } from '../../src/constants.js'
import { type Socket, type SocketAddress, setOptionBytes } from '../../src/index.js'
import { udp4 } from './kind.js'

/** `struct xfrm_userpolicy_info`: direction out, action block. */
export function xfrmPolicy(family: number): Uint8Array {
  const policy = new Uint8Array(168)
  policy[40] = family
  policy[160] = 1
  policy[161] = 1
  return policy
}

/** `struct sadb_x_policy`: two words long, SADB_X_EXT_POLICY, discard, outbound. */
export function ipsecPolicy(): Uint8Array {
  return Uint8Array.of(2, 0, 18, 0, 0, 0, 2, 0, ...new Uint8Array(8))
}

export function expectSendRefused(socket: Socket, address: SocketAddress): void {
  expect(() => socket.sendTo(Buffer.from('x'), address)).toThrow('EPERM')
}

export function needIpsecPolicies(): Need {
  using socket = udp4.open()
  try {
    const IP_IPSEC_POLICY = 16
    setOptionBytes(socket, IPPROTO_IP, IP_IPSEC_POLICY, ipsecPolicy())
    return null
  } catch (error) {
    return `the kernel was built without PF_KEY: ${(error as Error).message}`
  }
}
