import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { expect, it, type TestContext } from 'vitest'
import { type Need, skipUnless } from './need.js'

/** Has the shape of native-core's `ReadableOption`, which this package can't import. */
interface Readable<T> {
  readonly name: string
  readonly size: number
  readonly level: number
  readonly option: number
  readonly decode: (view: DataView, length: number) => T
}

/** Has the shape of native-core's `WritableOption`. */
interface Writable<T> {
  readonly name: string
  readonly size: number
  readonly level: number
  readonly option: number
  readonly encode: (value: T, view: DataView, what: string) => number
}

// biome-ignore lint/suspicious/noExplicitAny: any row is meant, and `unknown` fits no encoder
type AnyWritable = Writable<any>
type AnyReadable = Readable<unknown>

/** A kind of socket to test an option with. */
export interface Kind<S> {
  /** Opens a new socket, which the test closes. It must close everything else that it opens (`onTestFinished`). */
  readonly open: () => S
  /** The requirement of this kind, if it has one; otherwise the test is skipped. */
  readonly need?: () => Need
}

/**
 * For a row that can be read and written: the kind of socket, the value to set, and the value that is then read if it is a
 * different one. Where the two can't be compared, a function checks the socket instead.
 */
export type Sample<S, Get, Set> =
  | readonly [kind: Kind<S>, set: Set & Get]
  | readonly [kind: Kind<S>, set: Set, get: Get | ((socket: S) => void)]

/** For a row that can only be read: a check of its value. */
export type Expectation<S, Get> = readonly [kind: Kind<S>, expectation: (value: Get, socket: S) => void]

/** For a row that can only be written: a value, and a check of its effect. */
export type Effect<S, Set> = readonly [kind: Kind<S>, set: Set, effect: (socket: S) => void]

/** An entry for each row that a module exports. A table without one of them doesn't compile. */
export type RowTable<S, M> = {
  readonly [K in keyof M as M[K] extends AnyReadable | AnyWritable ? K : never]: Entry<S, M[K]>
}

type Entry<S, Row> =
  Row extends Readable<infer Get>
    ? Row extends Writable<infer Set>
      ? Sample<S, Get, Set>
      : Expectation<S, Get>
    : Row extends Writable<infer Set>
      ? Effect<S, Set>
      : never

/** The functions that read and write rows: native-core's `getOption` and `setOption`. */
export interface RowAccess<S> {
  readonly getOption: <T>(socket: S, row: Readable<T>) => T
  readonly setOption: <T>(socket: S, row: Writable<T>, value: T) => void
}

/** Tests every row of a module, given its table. */
export type RowTester<S> = <M extends object>(rows: M, table: RowTable<S, NoInfer<M>>) => void

/**
 * Makes a function that tests every row of a module on the running kernel, given its table. A value that is set must be read
 * back and differ from the one before; a row that can only be read must have the expected value; a row that can only be
 * written must have its effect. The types of the tables make sure that no row is left out.
 *
 *     const testRows = rowTester<Socket>({ getOption, setOption })
 *     testRows(rows, { TCP_NODELAY: [tcp4, true], … })
 */
export function rowTester<S extends { close(): void }>(access: RowAccess<S>): RowTester<S> {
  return (rows, table) => testTable(access, rows, table)
}

/** Returns the rows among a module's exports. */
export function rowsOf(module: object): { readonly name: string; readonly level: number; readonly option: number }[] {
  const isRow = (value: unknown): value is AnyReadable =>
    typeof value === 'object' && value !== null && 'option' in value
  return Object.values(module).filter(isRow)
}

/** Needs a kernel of at least this version: `'6.14'`. */
export function needLinux(version: string): Need {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [runningMajor = 0, runningMinor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10))
  const isNew = runningMajor > major || (runningMajor === major && runningMinor >= minor)
  return isNew ? null : `Linux ${version} is needed, this is ${release()}`
}

/** Needs a process with this capability: `'CAP_NET_ADMIN'`. */
export function needCapability(name: keyof typeof CAPABILITIES): Need {
  const effective = /^CapEff:\s*([\da-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return (BigInt(`0x${effective}`) >> BigInt(CAPABILITIES[name])) & 1n ? null : `${name} is needed`
}

const CAPABILITIES = {
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_RESOURCE: 24,
  CAP_BLOCK_SUSPEND: 36,
  CAP_BPF: 39,
} as const

function testTable<S extends { close(): void }, M extends object>(access: RowAccess<S>, rows: M, table: object): void {
  const entries = Object.entries(table) as [keyof M & string, readonly [Kind<S>, unknown, unknown?]][]
  for (const [name, [kind, ...sample]] of entries) {
    const row = rows[name] as AnyReadable & AnyWritable
    it(`${name} ${title(row)}`, (test: TestContext) => {
      expect(row.name).toBe(name)
      skipUnless(test, kind.need?.() ?? null)
      const socket = kind.open()
      try {
        if (!('encode' in row)) readAndSee(access, socket, row, sample)
        else if ('decode' in row) setAndRead(access, socket, row, sample)
        else setAndSee(access, socket, row, sample)
      } finally {
        socket.close()
      }
    })
  }
}

function title(row: AnyReadable | AnyWritable): string {
  if (!('encode' in row)) return 'is read as expected'
  return 'decode' in row ? 'is set and read back' : 'is set and has its effect'
}

function readAndSee<S>({ getOption }: RowAccess<S>, socket: S, row: AnyReadable, sample: readonly unknown[]): void {
  const [expectation] = sample as [(value: unknown, socket: S) => void]
  expectation(getOption(socket, row), socket)
}

function setAndRead<S>(
  { getOption, setOption }: RowAccess<S>,
  socket: S,
  row: AnyReadable & AnyWritable,
  sample: readonly unknown[],
): void {
  const [set, get = set] = sample
  if (typeof get === 'function') {
    setOption(socket, row, set)
    get(socket)
    return
  }
  const before = getOption(socket, row)
  setOption(socket, row, set)
  expect(getOption(socket, row)).toEqual(get)
  expect(get, 'the sample must differ from the initial value').not.toEqual(before)
}

function setAndSee<S>({ setOption }: RowAccess<S>, socket: S, row: AnyWritable, sample: readonly unknown[]): void {
  const [set, effect] = sample as [unknown, (socket: S) => void]
  setOption(socket, row, set)
  effect(socket)
}
