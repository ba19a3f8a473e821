import { MSG_ERRQUEUE } from '../constants.js'
import { recvMessage } from '../message.js'
import type { Socket } from '../socket.js'

/** recvmsg(2) `MSG_ERRQUEUE`: drops up to 64 messages of the error queue. For the packages of `@linux-sockets`. */
export function dropNotices(socket: Socket): void {
  let left = NOTICES_PER_TURN
  while (left-- > 0 && recvMessage(socket, [], { flags: MSG_ERRQUEUE }) !== null);
}

/** How many messages of the error queue are dropped before other streams get their turn. */
const NOTICES_PER_TURN = 64
