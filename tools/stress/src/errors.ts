import { constants } from 'node:os'

const eai = { EAI_AGAIN: -3, EAI_MEMORY: -10, EAI_SYSTEM: -11 } as const

/** `napi_generic_failure` of node_api_types.h, which the boundary reports as `ENOMEM`. */
const GENERIC_FAILURE = 9

/** Returns the number that the interposer takes for the code of this name. */
export function numberOf(code: string): number {
  if (code === 'napi_generic_failure') return GENERIC_FAILURE
  if (code in eai) return eai[code as keyof typeof eai]
  const number = constants.errno[code as keyof typeof constants.errno] ?? extra[code]
  if (number === undefined) throw new Error(`unknown code ${code}`)
  return number
}

/** Codes of Linux that Node's table lacks. */
const extra: Readonly<Record<string, number>> = { ETOOMANYREFS: 109 }

/** Returns the `code` of the error that a program gets for a fault. */
export function toldAs(code: string): string {
  return code === 'napi_generic_failure' ? 'ENOMEM' : code
}

/** Returns the code of an error and those of its causes and of the errors in an AggregateError. */
export function codesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [String(error)]
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  const parts = error instanceof AggregateError ? error.errors : []
  return [
    typeof code === 'string' ? code : `${error.name}: ${error.message}`,
    ...(cause === undefined ? [] : codesOf(cause)),
    ...parts.flatMap(codesOf),
  ]
}
