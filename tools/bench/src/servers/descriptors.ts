/** Ours: passes a descriptor through a pair of Unix sockets, receives it and closes it. */
import { eventfd } from '@linux-sockets/native-core'
import { receiveDescriptors, sendDescriptors, unixPair } from '@linux-sockets/unix-fdpass'
import { drive } from './drive.js'

const SLICE = 100
const [mine, theirs] = unixPair()
const passed = [eventfd()]
const some = { max: 1, size: 1 }
await drive((end) => {
  let count = 0
  while (performance.now() < end) {
    for (let i = 0; i < SLICE; i++) pass()
    count += SLICE
  }
  return count
})

function pass(): void {
  sendDescriptors(mine, passed)
  const [received] = receiveDescriptors(theirs, some)?.descriptors ?? []
  if (received === undefined) throw new Error('the descriptor has not come along')
  received.close()
}
