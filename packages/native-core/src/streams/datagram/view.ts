// A view shows one message of a batch, and decodes what is read from it. A copy no longer depends on the batch, and owns the
// message's descriptors.
import type { SocketAddress } from '../../address.js'
import { checkInteger } from '../../argument.js'
import type { ReceiveBatch } from '../../batch.js'
import type { Decoder } from '../../codecs/codec.js'
import type { ControlMessage, ControlName } from '../../control.js'
import type { OwnedFd } from '../../fd.js'
import type { DatagramBatch, DatagramView, IncomingDatagram } from './types.js'

/** Shows message i of a batch; the batch changes under it. */
export class BatchView<Address extends SocketAddress> implements DatagramView<Address> {
  readonly #batch: ReceiveBatch
  #i = 0

  constructor(batch: ReceiveBatch) {
    this.#batch = batch
  }

  get data(): Buffer {
    return this.#batch.data(this.#i)
  }

  get length(): number {
    return this.#batch.length(this.#i)
  }

  get address(): Address | null {
    return this.#batch.address(this.#i) as Address | null
  }

  get sockaddr(): Uint8Array {
    return this.#batch.sockaddr(this.#i)
  }

  get flags(): number {
    return this.#batch.flags(this.#i)
  }

  get control(): readonly ControlMessage[] {
    return this.#batch.control(this.#i)
  }

  readControl<T>(kind: ControlName & Decoder<T>): T | undefined {
    return this.#batch.readControl(this.#i, kind)
  }

  get descriptors(): readonly OwnedFd[] {
    return this.#batch.descriptors(this.#i)
  }

  get pidfd(): OwnedFd | undefined {
    return this.#batch.pidfd(this.#i)
  }

  copy(): IncomingDatagram<Address> {
    return copyOf(this.#batch, this.#i)
  }

  show(i: number): void {
    this.#i = i
  }

  release(): void {
    this.#batch.drop(this.#i)
  }
}

/** Shows the messages `first` … `end` − 1 of a batch, one at a time. */
export class BatchViews<Address extends SocketAddress> implements DatagramBatch<Address> {
  readonly #view: BatchView<Address>
  #first = 0
  #end = 0

  constructor(view: BatchView<Address>) {
    this.#view = view
  }

  get length(): number {
    return this.#end - this.#first
  }

  at(i: number): DatagramView<Address> {
    checkInteger(i, 0, this.length - 1, 'i')
    this.#view.show(this.#first + i)
    return this.#view
  }

  *[Symbol.iterator](): IterableIterator<DatagramView<Address>> {
    for (let i = 0; i < this.length; i++) yield this.at(i)
  }

  show(first: number, end: number): void {
    this.#first = first
    this.#end = end
  }
}

export function copyOf<Address extends SocketAddress>(batch: ReceiveBatch, i: number): IncomingDatagram<Address> {
  return {
    data: Buffer.from(batch.data(i)),
    length: batch.length(i),
    address: batch.address(i) as Address | null,
    flags: batch.flags(i),
    control: batch.control(i),
    descriptors: batch.descriptors(i),
    pidfd: batch.pidfd(i),
  }
}
