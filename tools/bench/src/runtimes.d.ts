/** The parts of the APIs of Bun and Deno that the servers use. */

interface BunSocket<Data> {
  data: Data
  /** Above 0 while the socket can be written to. */
  readonly readyState: number
  /** Returns how many bytes the kernel has taken, or −1 if the socket is closed. */
  write(bytes: Uint8Array): number
  pause(): void
  resume(): void
  setNoDelay(on: boolean): void
  shutdown(): void
  end(): void
  terminate(): void
}

interface BunHandlers<Data> {
  open?(socket: BunSocket<Data>): void
  data?(socket: BunSocket<Data>, chunk: Uint8Array): void
  drain?(socket: BunSocket<Data>): void
  end?(socket: BunSocket<Data>): void
  close?(socket: BunSocket<Data>, error?: Error): void
  error?(socket: BunSocket<Data>, error: Error): void
}

interface BunOptions<Data> {
  readonly hostname: string
  readonly port: number
  readonly allowHalfOpen?: boolean
  readonly data?: Data
  readonly socket: BunHandlers<Data>
}

interface BunDatagrams {
  readonly port: number
  /** Returns whether the kernel has taken the datagram. */
  send(bytes: Uint8Array, port: number, address: string): boolean
}

declare const Bun: {
  listen<Data>(options: BunOptions<Data>): { readonly port: number }
  connect<Data>(options: BunOptions<Data>): Promise<BunSocket<Data>>
  file(path: string): { stream(): ReadableStream<Uint8Array> }
  udpSocket(options: {
    readonly hostname: string
    readonly socket: {
      data(socket: BunDatagrams, bytes: Uint8Array, port: number, address: string): void
      drain(socket: BunDatagrams): void
      error(): void
    }
  }): Promise<BunDatagrams>
}

interface DenoConnection {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
  /** Resolves with the number of bytes, or with `null` at the end. */
  read(bytes: Uint8Array): Promise<number | null>
  write(bytes: Uint8Array): Promise<number>
  closeWrite(): Promise<void>
  setNoDelay(): void
  close(): void
}

declare const Deno: {
  listen(options: {
    readonly hostname: string
    readonly port: number
    readonly tcpBacklog?: number
  }): AsyncIterable<DenoConnection> & { readonly addr: { readonly port: number } }
  connect(options: { readonly hostname: string; readonly port: number }): Promise<DenoConnection>
  open(path: string): Promise<{ readonly readable: ReadableStream<Uint8Array> }>
}
