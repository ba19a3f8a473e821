import { Reactor } from '@linux-sockets/epoll'
import { guardDescriptors } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { RpcClient, serveProcedures } from '../src/rpc.js'

guardDescriptors()

it('runs no more requests of a connection at a time than the limit, and answers all', async () => {
  using reactor = new Reactor()
  let running = 0
  let most = 0
  const procedures = {
    async echo(value: number) {
      most = Math.max(most, ++running)
      await new Promise(setImmediate)
      running--
      return value
    },
  }
  const server = serveProcedures(reactor, procedures)
  const client = new RpcClient<typeof procedures>(reactor, server.address)
  // All requests arrive with one or two receives.
  const numbers = Array.from({ length: 1000 }, (_, i) => i)
  expect(await Promise.all(numbers.map((i) => client.call('echo', [i])))).toEqual(numbers)
  expect(most).toBe(100)
  client.close()
  await server.drain()
})
