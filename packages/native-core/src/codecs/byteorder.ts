import { checkInteger } from '../argument.js'

// All supported architectures are little-endian, and the network is big-endian (RFC 1700): each function swaps the bytes,
// and is its own inverse.

/** htons(3): a 16-bit number from host to network byte order. @throws TypeError, RangeError */
export function htons(host: number): number {
  checkInteger(host, 0, 0xffff, 'host')
  return swap16(host)
}

/** ntohs(3): a 16-bit number from network to host byte order. @throws TypeError, RangeError */
export function ntohs(network: number): number {
  checkInteger(network, 0, 0xffff, 'network')
  return swap16(network)
}

/** htonl(3): a 32-bit number from host to network byte order. @throws TypeError, RangeError */
export function htonl(host: number): number {
  checkInteger(host, 0, 0xffff_ffff, 'host')
  return swap32(host)
}

/** ntohl(3): a 32-bit number from network to host byte order. @throws TypeError, RangeError */
export function ntohl(network: number): number {
  checkInteger(network, 0, 0xffff_ffff, 'network')
  return swap32(network)
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >> 8)
}

function swap32(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0
}
