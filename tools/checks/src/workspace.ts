import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import ts from 'typescript'

export const root = resolve(import.meta.dirname, '../../..')

export interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly [field: string]: unknown
}

/** A package of the workspace. */
export interface Room {
  /** Relative to the root: `packages/tcp`. */
  readonly path: string
  readonly manifest: Manifest
}

export const packages = rooms('packages')
export const examples = rooms('apps')
export const tools = rooms('tools')

function rooms(folder: string): Room[] {
  return readdirSync(join(root, folder))
    .map((name) => join(folder, name))
    .filter((path) => existsSync(join(root, path, 'package.json')))
    .map((path) => ({ path, manifest: JSON.parse(read(join(path, 'package.json'))) as Manifest }))
}

/** Returns the text of a file. The path is relative to the root. */
export function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** Returns the files below a directory, or none if it doesn't exist, without built ones. Paths are relative to the root. */
export function filesIn(directory: string): string[] {
  if (!existsSync(join(root, directory))) return []
  return readdirSync(join(root, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((file) => !/(^|\/)(node_modules|dist|build|build-asan|prebuilds|\.turbo)\//.test(file))
}

/** Returns what a TypeScript file imports by `import`, `export … from`, `import()` or `require()`. */
export function importsOf(file: string): string[] {
  return ts.preProcessFile(read(file)).importedFiles.map(({ fileName }) => fileName)
}
