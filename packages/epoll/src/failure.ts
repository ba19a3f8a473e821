import { type AsFd, getOption, SystemError } from '@linux-sockets/native-core'
import { SO_ERROR } from '@linux-sockets/native-core/options'

/** Takes the socket's pending error (SO_ERROR). Undefined if there is none. */
export function pendingError(socket: AsFd, syscall: string, detail?: string): Error | undefined {
  try {
    const code = getOption(socket, SO_ERROR)
    return code === 0 ? undefined : new SystemError(code, syscall, detail)
  } catch (error) {
    return error as Error
  }
}
