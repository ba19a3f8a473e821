import { describe, expect, it } from 'vitest'

/** A call with an invalid argument, and the message of its error, which begins with the argument's name. */
export type Refusal = readonly [call: () => unknown, message: string | RegExp]

/** The names of the packages' parameters that are objects of options or handlers, and in which an unknown name is refused. */
export const NAMED_OPTIONS = ['options', 'hints', 'query', 'changes', 'limit', 'keepAlive', 'handlers'] as const

/**
 * Tests that bad input gets a clear error, in the words of the function that was called. The table must have every function,
 * constructor and method that `exported` offers, by names such as `connect`, `Reactor` and `Reactor.register`; a missing one
 * fails. `elsewhere` are the
 * modules whose exports `exported` repeats: those are tested with the package that they come from. A function that has no argument that can be wrong gets an empty list. A function with options needs an `unknownName`.
 */
export function testRefusals(
  exported: Readonly<Record<string, unknown>>,
  table: Record<string, readonly Refusal[]>,
  elsewhere: readonly object[] = [],
): void {
  describe('bad input', () => {
    const repeated = new Set<unknown>(elsewhere.flatMap((module) => Object.values(module)))
    const callables = Object.entries(exported)
      .filter(([, value]) => !repeated.has(value))
      .flatMap(callable)

    it('is tested for everything that the package exports', () => {
      expect(callables.map(({ name }) => name).filter((name) => !(name in table))).toEqual([])
    })

    it('is tested with a misspelt name of an option or a handler', () => {
      const wanted = callables.flatMap(({ name, options }) => options.map((what) => [name, what] as const))
      const missing = wanted.filter(([name, what]) => !table[name]?.some(([, message]) => isUnknownName(message, what)))
      expect(missing.map(([name]) => name).filter((name) => !HOT.has(name))).toEqual([])
    })

    const refusals = Object.entries(table).filter(([, list]) => list.length > 0)
    it.each(refusals)('is reported in the words of %s', async (_name, list) => {
      for (const [i, [call, message]] of list.entries()) {
        const error = await outcome(call)
        expect(error, `call ${i}, which says ${message}`).toSatisfy(
          (it) => it instanceof TypeError || it instanceof RangeError,
        )
        // A message of Node or of the native side is in the words of another function.
        expect((error as NodeJS.ErrnoException).code, `${error}`).toBeUndefined()
        expect((error as Error).message).toMatch(message)
      }
    })
  })
}

/**
 * Makes a row for each of `values`, all of which `call` must refuse. `message` is a name that the error begins with, or a
 * pattern.
 */
export function refusalsOf(
  values: readonly unknown[],
  call: (value: never) => unknown,
  message: string | RegExp,
): Refusal[] {
  return values.map((value) => [() => call(value as never), typeof message === 'string' ? beginning(message) : message])
}

/** Makes rows as `refusalsOf` does, for an option of this name. */
export function optionRefusals(name: string, values: readonly unknown[], call: (options: never) => unknown): Refusal[] {
  return refusalsOf(values, (value) => call({ [name]: value } as never), name)
}

/**
 * Makes a row for an object that has an unknown name. The error must list the known names, among them `known`. `what` is the
 * name of the object itself.
 */
export function unknownName(known: string, call: (object: never) => unknown, what = 'options'): Refusal {
  const message = new RegExp(`^${what}\\.nonsense is not known; known are (.+, )?${known}(,|$)`)
  return [() => call({ nonsense: () => {} } as never), message]
}

function isUnknownName(message: string | RegExp, what: string): boolean {
  return message instanceof RegExp && message.source.startsWith(`^${what}\\.nonsense `)
}

/** Makes a pattern for messages that begin with these words. */
export function beginning(words: string): RegExp {
  return new RegExp(`^${words.replace(/[[\]().]/g, '\\$&')}(?![a-z])`)
}

async function outcome(call: () => unknown): Promise<unknown> {
  try {
    return await call()
  } catch (error) {
    return error
  }
}

/** Functions that don't check names because they are called for every datagram or message. */
const HOT: ReadonlySet<string> = new Set([
  'DatagramChannel.send',
  'DatagramChannel.sendAsync',
  'Socket.recvMessage',
  'recvMessage',
])

interface Callable {
  readonly name: string
  /** The names among `NAMED_OPTIONS` that the function takes. */
  readonly options: readonly string[]
}

/** Leaves out methods that have neither a required parameter nor options. Options of static methods count as the class's. */
function callable([name, value]: [string, unknown]): Callable[] {
  if (typeof value !== 'function') return []
  const made = methodsOf(value).flatMap(([, method]) => optionsOf(method))
  const methods = methodsOf(value.prototype ?? {}).map(([method, body]) => ({
    name: `${name}.${method}`,
    options: optionsOf(body),
    isTold: body.length > 0,
  }))
  return [
    { name, options: [...new Set([...optionsOf(value), ...made])] },
    ...methods.filter(({ options, isTold }) => isTold || options.length > 0),
  ]
}

type Body = (...args: never) => unknown

function methodsOf(object: object): [name: string, body: Body][] {
  return Object.entries(Object.getOwnPropertyDescriptors(object))
    .filter(([name, { value }]) => name !== 'constructor' && typeof value === 'function')
    .map(([name, { value }]) => [name, value])
}

/** Finds options by parameter names in the source of a function, or of a class's constructor. */
function optionsOf(body: object): string[] {
  const source = String(body)
  const parameters = /^class\b/.test(source) ? /\bconstructor\((.*?)\) \{/s : /\((.*?)\) (?:\{|=>)/s
  const list = parameters.exec(source)?.[1] ?? ''
  return NAMED_OPTIONS.filter((name) => new RegExp(`\\b${name}\\b`).test(list))
}
