/** Node's own datagrams. */
import { createSocket } from 'node:dgram'
import { ready } from './control.js'

const socket = createSocket('udp4', (data, { port, address }) => socket.send(data, port, address))
socket.on('error', () => {})
socket.bind(0, '127.0.0.1', () => ready(socket.address().port))
