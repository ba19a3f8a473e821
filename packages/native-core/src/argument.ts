// Checks of arguments before any system call, with the same error messages everywhere. `what` is the argument's name.

/** @throws TypeError if the value is not a number, RangeError if it is not an integer from `min` to `max` */
export function checkInteger(value: unknown, min: number, max: number, what: string): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new TypeError(`${what} must be a number, not ${describe(value)}`)
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what} must be an integer from ${min} to ${max}, not ${value}`)
  }
}

/** Checks a C `int`. @throws TypeError, RangeError */
export function checkInt32(value: unknown, what: string): asserts value is number {
  checkInteger(value, -0x8000_0000, 0x7fff_ffff, what)
}

/** Checks a mask of 32 bits; JavaScript's operators make it negative if the last bit is set. @throws TypeError, RangeError */
export function checkFlags(value: unknown, what = 'flags'): asserts value is number {
  checkInteger(value, -0x8000_0000, 0xffff_ffff, what)
}

/** @throws TypeError */
export function checkBoolean(value: unknown, what: string): asserts value is boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${what} must be a boolean, not ${describe(value)}`)
}

/** @throws TypeError */
export function checkObject(value: unknown, what: string): void {
  if (typeof value !== 'object' || value === null)
    throw new TypeError(`${what} must be an object, not ${describe(value)}`)
}

/** The names of the options of a type, each of them `true`: a missing or an extra name doesn't compile. */
export type NamesOf<Options> = Readonly<Record<keyof Options, true>>

/**
 * Refuses unknown names, which JavaScript ignores. All own enumerable properties count, also those that are undefined;
 * properties that are inherited or not enumerable don't.
 * @throws TypeError if the value is not an object, or has an unknown name
 */
export function checkOptions<Options extends object>(
  options: Options,
  what: string,
  names: NamesOf<NoInfer<Options>>,
): void {
  checkObject(options, what)
  for (const name in options) if (isUnknown(options, name, names)) throw unknown(what, name, names)
}

/**
 * Like `checkOptions`, for an object of handlers, of which `required` must be present. It may have any other property that
 * is not a function.
 * @throws TypeError
 */
export function checkHandlers<Handlers extends object>(
  handlers: Handlers,
  required: keyof NoInfer<Handlers> & string,
  names: NamesOf<NoInfer<Handlers>>,
): void {
  checkObject(handlers, 'handlers')
  for (const name in handlers) {
    if (typeof handlers[name] === 'function' && isUnknown(handlers, name, names)) throw unknown('handlers', name, names)
  }
  for (const name in names) {
    const handler = handlers[name as keyof Handlers]
    if (handler !== undefined || name === required) checkFunction(handler, `handlers.${name}`)
  }
}

function isUnknown(options: object, name: string, names: object): boolean {
  // Names inherited from Object.prototype are not true.
  return (names as Record<string, unknown>)[name] !== true && Object.hasOwn(options, name)
}

function unknown(what: string, name: string, names: object): TypeError {
  return new TypeError(`${what}.${name} is not known; known are ${Object.keys(names).join(', ')}`)
}

/** @throws TypeError */
export function checkFunction(value: unknown, what: string): void {
  if (typeof value !== 'function') throw new TypeError(`${what} must be a function, not ${describe(value)}`)
}

/** @throws TypeError */
export function checkBytes(value: unknown, what: string): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${what} must be a Uint8Array, not ${describe(value)}`)
}

/** @throws TypeError */
export function checkString(value: unknown, what: string): asserts value is string {
  if (typeof value !== 'string') throw new TypeError(`${what} must be a string, not ${describe(value)}`)
}

/** Checks that a codec has the functions `ways`. @throws TypeError, RangeError */
export function checkCodec(value: unknown, ...ways: readonly ('encode' | 'decode')[]): void {
  checkObject(value, 'codec')
  const codec = value as Partial<Record<string, unknown>>
  checkInteger(codec.size, 0, 0x1000_0000, 'codec.size')
  for (const way of ways) checkFunction(codec[way], `codec.${way}`)
}

/** Accepts an `AbortSignal` of another realm, or an object that imitates one. @throws TypeError */
export function checkSignal(value: unknown, what = 'signal'): void {
  const signal = value as Partial<AbortSignal> | null | undefined
  if (value === undefined || (typeof signal?.addEventListener === 'function' && 'aborted' in signal)) return
  throw new TypeError(`${what} must be an AbortSignal, not ${describe(value)}`)
}

/**
 * Checks that data from the kernel, or in its layout, has at least `least` bytes, so that no byte behind it is read.
 * @throws RangeError
 */
export function needBytes(length: number, least: number, what: string): void {
  if (length < least) throw new RangeError(`a ${what} has at least ${least} bytes, not ${length}`)
}

/** Accepts a `Socket` of another copy of this package. @throws TypeError */
export function checkSocket(value: unknown, what: string): void {
  const socket = value as { readonly fd?: unknown; readonly accept?: unknown } | null | undefined
  if (typeof socket?.fd === 'number' && typeof socket.accept === 'function') return
  throw new TypeError(`${what} must be a Socket, not ${describe(value)}`)
}

/** Formats a value for an error message: strings in quotes, other values as `describe` does. */
export function quote(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : describe(value)
}

/** Formats a value for an error message: numbers as they are, other values by their kind. */
export function describe(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'number') return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  const name = value.constructor?.name
  return name ? `${/^[AEIOU](?!int)/.test(name) ? 'an' : 'a'} ${name}` : 'an object'
}
