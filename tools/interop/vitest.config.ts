// Left out by the root's configuration: these need programs that few machines have. `npm run test:interop` brings them.
import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { testTimeout: 60_000, hookTimeout: 60_000 } })
