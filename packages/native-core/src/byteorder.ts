import { checkInteger } from './codec.js'

// All architectures that the loader accepts are little-endian, and the network is big-endian (RFC 1700): each function
// is a swap, and its own inverse.

/** htons(3): a 16-bit number from host to network byte order. @throws RangeError */
export function htons(host: number): number {
  checkInteger(host, 0, 0xffff, 'htons')
  return swap16(host)
}

/** ntohs(3): a 16-bit number from network to host byte order. @throws RangeError */
export function ntohs(network: number): number {
  checkInteger(network, 0, 0xffff, 'ntohs')
  return swap16(network)
}

/** htonl(3): a 32-bit number from host to network byte order. @throws RangeError */
export function htonl(host: number): number {
  checkInteger(host, 0, 0xffff_ffff, 'htonl')
  return swap32(host)
}

/** ntohl(3): a 32-bit number from network to host byte order. @throws RangeError */
export function ntohl(network: number): number {
  checkInteger(network, 0, 0xffff_ffff, 'ntohl')
  return swap32(network)
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >> 8)
}

function swap32(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0
}
