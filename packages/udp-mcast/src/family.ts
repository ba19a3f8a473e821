import { type FdLike, getOption, SystemError, setOption, type WritableOption } from '@linux-sockets/native-core'
import { AF_INET6 } from '@linux-sockets/native-core/constants'
import { SO_DOMAIN } from '@linux-sockets/native-core/options'

/**
 * Sets an option of IPv4 on a socket of either family. An IPv6 socket has those options for its IPv4 peers, but not if its
 * protocol has no such peers: raw sockets and ping sockets refuse them.
 */
export function setIpv4Option<T>(socket: FdLike, option: WritableOption<T>, value: NoInfer<T>): void {
  try {
    setOption(socket, option, value)
  } catch (error) {
    const isRefused = error instanceof SystemError && error.code === 'ENOPROTOOPT'
    if (!isRefused || getOption(socket, SO_DOMAIN) !== AF_INET6) throw error
  }
}
