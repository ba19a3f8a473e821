import { createHash, randomBytes } from 'node:crypto'
import type { Socket as NetSocket } from 'node:net'
import { guardDescriptors, needProgram, skipUnless } from '@linux-sockets/testkit'
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis'
import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { needPostgres, startPostgres, startRedis } from '../src/daemon.js'
import { connectTo } from '../src/listening.js'

guardDescriptors()

it('ioredis talks to Redis', async (test) => {
  skipUnless(test, needProgram('redis-server'))
  const port = await startRedis()
  const [redis, subscriber] = [redisTo(port), redisTo(port)]
  const large = randomBytes(8 * 1024 * 1024 + 1)
  await redis.set('large', large)
  expect(sha256((await redis.getBuffer('large')) as Buffer)).toBe(sha256(large))

  const pipeline = redis.pipeline()
  for (let i = 0; i < 5000; i++) pipeline.set(`key ${i}`, i).get(`key ${i}`)
  const results = (await pipeline.exec()) as [Error | null, unknown][]
  expect(results.filter((_, i) => i % 2 === 1)).toEqual(Array.from({ length: 5000 }, (_, i) => [null, String(i)]))

  await subscriber.subscribe('news')
  const message = new Promise((resolve) => subscriber.once('message', (...args) => resolve(args)))
  expect(await redis.publish('news', 'hello')).toBe(1)
  expect(await message).toEqual(['news', 'hello'])
  const clients = (await redis.client('LIST')) as string
  expect(clients.trim().split('\n').length).toBe(2)
})

it('ioredis connects again after Redis has cut it off', async (test) => {
  skipUnless(test, needProgram('redis-server'))
  const port = await startRedis()
  const [redis, other] = [redisTo(port), redisTo(port)]
  const id = await redis.client('ID')
  await other.client('KILL', 'ID', id)
  expect(await redis.set('key', 'value')).toBe('OK')
  expect(await redis.client('ID')).not.toBe(id)
})

it('pg talks to PostgreSQL', async (test) => {
  skipUnless(test, needPostgres())
  const client = await postgresTo(await startPostgres())
  const large = randomBytes(4 * 1024 * 1024 + 1)
  await client.query('CREATE TABLE things (id int PRIMARY KEY, content bytea)')
  await client.query('INSERT INTO things VALUES ($1, $2)', [1, large])
  const { rows } = await client.query('SELECT content, sha256(content) AS digest FROM things WHERE id = $1', [1])
  expect(sha256(rows[0].content)).toBe(sha256(large))
  expect(rows[0].digest.toString('hex')).toBe(sha256(large))

  const many = await client.query('SELECT i, repeat($1, i % 100) AS text FROM generate_series(1, 50000) AS i', ['x'])
  expect(many.rows.length).toBe(50_000)
  expect(many.rows[49_998]).toEqual({ i: 49_999, text: 'x'.repeat(99) })

  await client.query('LISTEN news')
  const notice = new Promise((resolve) => client.once('notification', resolve))
  await client.query("NOTIFY news, 'hello'")
  expect(await notice).toMatchObject({ channel: 'news', payload: 'hello' })
  await expect(client.query('SELECT 1 / 0')).rejects.toMatchObject({ code: '22012' })
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
})

function redisTo(port: number): Redis {
  class Connector extends AbstractConnector {
    override async connect(): Promise<NetSocket> {
      this.connecting = true
      const stream = (await connectTo(port)) as unknown as NetSocket
      this.stream = stream
      return stream
    }
  }
  const redis = new Redis({ Connector: Connector as unknown as RedisOptions['Connector'] })
  onTestFinished(() => redis.disconnect())
  return redis
}

/** Makes a client over one of our streams, which is connected already. pg calls `connect` on it, and waits for the event. */
async function postgresTo(port: number): Promise<pg.Client> {
  const stream = await connectTo(port)
  const connect = () => void process.nextTick(() => stream.emit('connect'))
  const client = new pg.Client({
    user: 'postgres',
    database: 'postgres',
    stream: () => Object.assign(stream, { connect }),
  } as unknown as pg.ClientConfig)
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
