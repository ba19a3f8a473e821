import { defineConfig, type Options } from 'tsup'

/** How every published package is built; what differs is passed in. */
export const library = (options: Options = {}) =>
  defineConfig({
    entry: ['src/index.ts'],
    format: 'esm',
    target: 'node20',
    dts: true,
    clean: true,
    ...options,
  })
