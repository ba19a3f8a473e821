// Builds before vitest runs tests, and before each rerun in watch mode, because tests load and start built files.
import { buildIfStale } from './build.mjs'

/** @param {import('vitest/node').TestProject} project */
export default function setup(project) {
  buildIfStale()
  project.onTestsRerun(buildIfStale)
}
