// Without a configuration of its own vitest would find the root's, which leaves these checks out.
import { defineConfig } from 'vitest/config'

export default defineConfig({})
