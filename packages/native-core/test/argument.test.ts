import { expect, it } from 'vitest'
import { checkHandlers, checkOptions, type NamesOf } from '../src/argument.js'

interface Times {
  readonly first?: number | undefined
  readonly last?: number | undefined
}

interface Callbacks {
  data(): void
  end?(): void
}

const TIMES: NamesOf<Times> = { first: true, last: true }
const CALLBACKS: NamesOf<Callbacks> = { data: true, end: true }

const check = (options: object) => checkOptions(options as Times, 'options', TIMES)
const checkCallbacks = (handlers: object) => checkHandlers(handlers as Callbacks, 'data', CALLBACKS)

it('names the unknown option, and lists the known ones', () => {
  check({})
  check({ first: 1, last: undefined })
  expect(() => check({ first: 1, lats: 2 })).toThrow(new TypeError('options.lats is not known; known are first, last'))
  expect(() => check([1])).toThrow(new TypeError('options.0 is not known; known are first, last'))
})

it.each(['toString', 'constructor', 'hasOwnProperty', '__proto__'])('doesn’t know %s either', (name) => {
  const options = Object.defineProperty({}, name, { value: 1, enumerable: true })
  expect(() => check(options)).toThrow(`options.${name} is not known`)
})

it('counts own enumerable properties, whatever their value', () => {
  expect(() => check({ lats: undefined })).toThrow('options.lats')
  expect(() => check(Object.assign(Object.create(null), { lats: 1 }))).toThrow('options.lats')
  check(Object.create({ lats: 1 }))
  check(Object.defineProperty({}, 'lats', { value: 1 }))
  check({ [Symbol('lats')]: 1 })
  check(
    new (class {
      get lats() {
        return 1
      }
    })(),
  )
})

it('names the unknown handler, though other handlers may be missing', () => {
  const data = () => {}
  checkCallbacks({ data })
  const message = 'handlers.ondata is not known; known are data, end'
  expect(() => checkCallbacks({ ondata: data })).toThrow(new TypeError(message))
  expect(() => checkCallbacks({ data, ondata: data })).toThrow(new TypeError(message))
  expect(() => checkCallbacks({})).toThrow('handlers.data must be a function, not undefined')
  expect(() => checkCallbacks({ data, end: null })).toThrow('handlers.end must be a function, not null')
})

it('ignores other properties of handlers', () => {
  class Counter {
    count = 0
    data() {
      this.more()
    }
    more() {
      this.count++
    }
  }
  checkCallbacks(new Counter())
})

it('ties the names to the type', () => {
  // @ts-expect-error one is missing
  const less: NamesOf<Times> = { first: true }
  // @ts-expect-error one is too many
  const more: NamesOf<Times> = { first: true, last: true, middle: true }
  // @ts-expect-error these are of another type
  expect(() => checkOptions<Times>({ first: 1 }, 'options', CALLBACKS)).toThrow('options.first')
  // @ts-expect-error one is missing
  checkOptions({ first: 1 } as Times, 'options', { first: true })
  // @ts-expect-error one is too many
  checkOptions({ first: 1 } as Times, 'options', { first: true, last: true, middle: true })
  expect([less, more]).toHaveLength(2)
})
