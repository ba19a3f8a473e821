import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.js'
import { runProgram } from './program.js'

/** A key and its self-signed certificate, both in PEM, and the paths of their files. */
export interface Certificate {
  readonly key: Buffer
  readonly cert: Buffer
  readonly keyFile: string
  readonly certFile: string
}

/** Makes a certificate for `localhost` and 127.0.0.1 with `openssl`. Its files are removed when the running test ends. */
export async function temporaryCertificate(): Promise<Certificate> {
  const directory = temporaryDirectory()
  const [keyFile, certFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  await runProgram('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-keyout', keyFile, '-out', certFile],
  ])
  return { key: readFileSync(keyFile), cert: readFileSync(certFile), keyFile, certFile }
}
