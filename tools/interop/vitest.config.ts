// The root's configuration leaves these tests out: they need programs that few machines have. `npm run test:interop` installs
// the programs.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    globalSetup: '../../scripts/fresh.mjs',
    // Most tests wait for other programs more than they compute.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
  },
})
