import { readFileSync } from 'node:fs'
import {
  AF_UNIX,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLRDHUP,
  pipe,
  SHUT_WR,
  SOCK_STREAM,
  Socket,
} from '@linux-sockets/native-core'
import { expectCloexec, expectErrno, guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { Epoll, EpollEvents } from '../src/index.js'

guardDescriptors()

const hello = Buffer.from('hello')

describe('Epoll', () => {
  it('reports what is ready, with the data that it was given', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const events = new EpollEvents(8)
    epoll.add(a, EPOLLIN, 0x1234_5678_9abc_def0n)
    expect(epoll.wait(events)).toBe(0)

    b.send(hello)
    expect(epoll.wait(events)).toBe(1)
    expect(events.count).toBe(1)
    expect(events.events(0)).toBe(EPOLLIN)
    expect(events.data(0)).toBe(0x1234_5678_9abc_def0n)
    expect([events.low(0), events.high(0)]).toEqual([0x9abc_def0, 0x1234_5678])

    epoll.modify(a, EPOLLIN | EPOLLOUT)
    epoll.wait(events)
    expect(events.events(0)).toBe(EPOLLIN | EPOLLOUT)
    expect(events.low(0)).toBe(a.fd)

    epoll.delete(a)
    expect(epoll.wait(events)).toBe(0)
    a.close()
    b.close()
  })

  it('reports an edge once (EPOLLET), and one event at all (EPOLLONESHOT)', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const events = new EpollEvents()
    epoll.add(a, EPOLLIN | EPOLLET)
    b.send(hello)
    expect(epoll.wait(events)).toBe(1)
    expect(epoll.wait(events)).toBe(0)
    b.send(hello)
    expect(epoll.wait(events)).toBe(1)

    epoll.modify(a, EPOLLIN | EPOLLONESHOT)
    expect(epoll.wait(events)).toBe(1)
    b.send(hello)
    expect(epoll.wait(events)).toBe(0)
    epoll.modify(a, EPOLLIN | EPOLLONESHOT)
    expect(epoll.wait(events)).toBe(1)
    a.close()
    b.close()
  })

  it('reports half-closes, hang-ups and errors', () => {
    using epoll = new Epoll()
    const events = new EpollEvents()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    epoll.add(a, EPOLLIN | EPOLLRDHUP)
    b.shutdown(SHUT_WR)
    epoll.wait(events)
    expect(events.events(0)).toBe(EPOLLIN | EPOLLRDHUP)
    b.close()
    epoll.wait(events)
    expect(events.events(0) & EPOLLHUP).toBe(EPOLLHUP)
    a.close()

    const { read, write } = pipe()
    epoll.add(write, 0)
    read.close()
    epoll.wait(events)
    expect(events.events(0)).toBe(EPOLLERR)
    write.close()
  })

  it('waits as long as it is told, and brings no more than fits', () => {
    using epoll = new Epoll()
    const started = process.hrtime.bigint()
    expect(epoll.wait(new EpollEvents(), 2.5)).toBe(0)
    expect(Number(process.hrtime.bigint() - started) / 1e6).toBeGreaterThanOrEqual(2.5)

    const pairs = Array.from({ length: 5 }, () => Socket.pair(AF_UNIX, SOCK_STREAM))
    for (const [a] of pairs) epoll.add(a, EPOLLOUT)
    expect(epoll.wait(new EpollEvents(3), -1)).toBe(3)
    for (const socket of pairs.flat()) socket.close()
  })

  it('closes on exec, can be watched by another instance, and ends with close', () => {
    using outer = new Epoll()
    const inner = new Epoll()
    expectCloexec(inner)
    const events = new EpollEvents()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    outer.add(inner, EPOLLIN)
    inner.add(a, EPOLLIN)
    expect(outer.wait(events)).toBe(0)
    b.send(hello)
    expect(outer.wait(events)).toBe(1)
    expect(events.low(0)).toBe(inner.fd)
    expectErrno(() => inner.add(inner, EPOLLIN), 'EINVAL')
    expectErrno(() => inner.add(outer, EPOLLIN), 'ELOOP')

    outer.delete(inner)
    inner.close()
    inner.close()
    expect(inner.fd).toBe(-1)
    expectErrno(() => inner.wait(events), 'EBADF')
    a.close()
    b.close()
  })

  it('refuses what the kernel refuses, and bad arguments before it', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    epoll.add(a, EPOLLIN)
    expectErrno(() => epoll.add(a, EPOLLIN), 'EEXIST')
    expectErrno(() => epoll.modify(b, EPOLLIN), 'ENOENT')
    expectErrno(() => epoll.delete(b), 'ENOENT')
    expectErrno(() => epoll.add({ fd: -1 }, EPOLLIN), 'EBADF')
    expectErrno(() => epoll.add({ fd: 1 << 20 }, EPOLLIN), 'EBADF')
    for (const data of [1.5, -2, Number.NaN, 2 ** 53, -1n, 1n << 64n]) {
      expect(() => epoll.add(b, EPOLLIN, data)).toThrow(RangeError)
    }
    expect(() => epoll.add({ fd: Number.NaN }, EPOLLIN, 0)).toThrow(TypeError)
    expect(() => epoll.add(b, Number.NaN)).toThrow(TypeError)
    expect(() => epoll.wait(new EpollEvents(), Number.NaN)).toThrow(TypeError)
    for (const capacity of [0, -1, 1.5, Number.NaN]) expect(() => new EpollEvents(capacity)).toThrow(RangeError)
    a.close()
    b.close()
  })

  it('keeps the flags that the kernel shows', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    epoll.add(a, EPOLLIN | EPOLLRDHUP | EPOLLET, 0x77)
    const shown = readFileSync(`/proc/self/fdinfo/${epoll.fd}`, 'utf8')
    expect(shown).toMatch(/events: 80002019 data:\s+77 /)
    a.close()
    b.close()
  })
})
