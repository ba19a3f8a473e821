// Without this configuration vitest would use the root's, which leaves these checks out.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { globalSetup: '../../scripts/fresh.mjs', testTimeout: 120_000, hookTimeout: 120_000 },
})
