import { writeSync } from 'node:fs'
import { MissingBytes, WrongBytes } from './bytes.js'
import { moreThan, openKinds } from './descriptors.js'
import { codesOf } from './errors.js'
import type { Program } from './programs.js'

/** The report of a program at its end. */
export interface Report {
  /** The codes of all errors that the program got. */
  told: string[]
  /** The messages of WrongBytes errors. */
  wrong: string[]
  /** The messages of MissingBytes errors. */
  missing: string[]
  /** Uncaught exceptions and unhandled rejections. */
  uncaught: string[]
  /** Warnings of descriptors that garbage collection closed. */
  forgotten: string[]
  /** Descriptors that are open in addition to those at the start. */
  left: string[]
  /** True if the program completed; false if Node ended first because nothing was left to wait for. */
  settled: boolean
}

/** Runs the program with the fault of `INJECT_PLAN`. Prints the Report as a line of JSON if the process ends by itself. */
export function perform(program: Program | undefined): void {
  if (program === undefined) throw new Error('no such program')
  const report: Report = { told: [], wrong: [], missing: [], uncaught: [], forgotten: [], left: [], settled: false }
  const tell = (error: unknown) => {
    if (error instanceof WrongBytes) report.wrong.push(error.message)
    else if (error instanceof MissingBytes) report.missing.push(error.message)
    else report.told.push(...codesOf(error))
  }
  process.on('uncaughtException', (error) => report.uncaught.push(`${codesOf(error)} ${error.stack}`))
  process.on('warning', (warning) => {
    const { code, message } = warning as NodeJS.ErrnoException
    if (code === 'LINUX_SOCKETS_FD_LEAK') report.forgotten.push(message)
    else if (code === 'LINUX_SOCKETS_ACCEPT') report.told.push(...(message.match(/\bE[A-Z]+\b/g) ?? []))
    else report.uncaught.push(message)
  })
  // Node opens the descriptors for stderr at its first use.
  process.stderr.write('')
  // Run one after the other when nothing is left to wait for. Each keeps the event loop alive a little longer.
  const endings = [
    // Gives a turn of the loop to callbacks that wait for one without keeping the loop alive.
    () => setImmediate(() => {}),
    // A forgotten owner of a descriptor warns when it is collected.
    () => {
      report.left = moreThan(before, openKinds())
      global.gc?.()
      setTimeout(() => {}, 20)
    },
  ]
  process.on('beforeExit', () => endings.shift()?.())
  process.on('exit', () => writeSync(1, `${JSON.stringify(report)}\n`))

  const before = openKinds()
  process.env.INJECT = process.env.INJECT_PLAN
  program(tell)
    .catch(tell)
    .finally(() => {
      report.settled = true
    })
}
