/** The output of the programs: for each step a line with its result and duration, and a bar while a long step runs. */

/** Shows the progress of a step; `done` and `total` are in the same unit. */
export type Progress = (done: number, total: number) => void

export interface Step {
  readonly title: string
  /** Runs the step and returns its result as text. Rejects if the step fails. */
  readonly run: (progress: Progress) => Promise<string>
}

/** Runs all steps in order, even if one fails. Returns the number of failed steps. */
export async function runSteps(steps: readonly Step[]): Promise<number> {
  let failed = 0
  for (const [i, { title, run }] of steps.entries()) {
    const label = `${String(i + 1).padStart(2)}/${steps.length}  ${title}`
    const started = performance.now()
    const bar = new Bar(label)
    try {
      const said = await run((done, total) => bar.show(done, total))
      bar.clear()
      console.log(`✓ ${label}  ${duration(performance.now() - started)}${INDENT}${said.replaceAll('\n', INDENT)}`)
    } catch (error) {
      bar.clear()
      failed++
      console.log(`✗ ${label}  ${duration(performance.now() - started)}`)
      console.error(error)
    }
  }
  return failed
}

/** Formats a number of bytes: `1536` as `1.5 KiB`. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB']
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1)
  const value = bytes / 1024 ** power
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power]}`
}

function duration(milliseconds: number): string {
  return milliseconds < 1000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`
}

const INDENT = '\n        '
const WIDTH = 30

/** A progress bar. It redraws itself on a terminal; elsewhere, as in a log, it prints a line for each quarter. */
export class Bar {
  readonly #label: string
  #shown = -1

  constructor(label: string) {
    this.#label = label
  }

  show(done: number, total: number): void {
    const filled = Math.floor((WIDTH * done) / total)
    if (filled === this.#shown) return
    const quarter = Math.floor((4 * filled) / WIDTH)
    const quarterBefore = Math.floor((4 * this.#shown) / WIDTH)
    this.#shown = filled
    const bar = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)}`
    if (process.stdout.isTTY) process.stdout.write(`\r  ${this.#label}  ${bar}`)
    else if (quarter > 0 && quarter > quarterBefore) console.log(`  ${this.#label}  ${25 * quarter} %`)
  }

  clear(): void {
    if (process.stdout.isTTY && this.#shown >= 0) process.stdout.write('\r\x1b[K')
  }
}
