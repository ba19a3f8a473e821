import { runPython } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { htonl, htons, ntohl, ntohs } from '../../src/codecs/index.js'

const short = [0, 1, 0x0102, 0x00ff, 0xff00, 0x8000, 0xffff]
const long = [...short, 0x01020304, 0x80000000, 0x7fffffff, 0xff000000, 0x000000ff, 0xfffffffe, 0xffffffff]

it('agrees with Python’s socket module', async () => {
  const script = `import socket, json
print(json.dumps([[socket.htons(n) for n in ${JSON.stringify(short)}], [socket.htonl(n) for n in ${JSON.stringify(long)}]]))`
  const [shorts, longs] = JSON.parse(await runPython(script))
  expect(short.map(htons)).toEqual(shorts)
  expect(short.map(ntohs)).toEqual(shorts)
  expect(long.map(htonl)).toEqual(longs)
  expect(long.map(ntohl)).toEqual(longs)
})

describe.each([
  ['htons', htons, 0xffff, 'host'],
  ['ntohs', ntohs, 0xffff, 'network'],
  ['htonl', htonl, 0xffff_ffff, 'host'],
  ['ntohl', ntohl, 0xffff_ffff, 'network'],
] as const)('%s', (_, swap, most, name) => {
  it('is its own inverse', () => {
    for (const value of long.filter((value) => value <= most)) expect(swap(swap(value))).toBe(value)
  })

  it.each([-1, most + 1, 1.5, Number.POSITIVE_INFINITY])('refuses %s', (value) => {
    expect(() => swap(value)).toThrow(RangeError)
    expect(() => swap(value)).toThrow(name)
  })

  it.each([undefined, '1', null, Number.NaN, 1n])('refuses %s', (value) => {
    expect(() => swap(value as never)).toThrow(`${name} must be a number`)
  })
})
