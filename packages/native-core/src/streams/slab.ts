// All streams of a thread receive into the same memory: an idle connection holds no buffer.

/** **Bytes** that one call of recv(2) can bring. */
export const SLAB_SIZE = 64 * 1024

/** The memory to receive into. It is another one after `takeFromSlab`. */
export let slab = Buffer.allocUnsafeSlow(SLAB_SIZE)

/** The first bytes of the slab as a chunk of its own: copied if they are few, otherwise the slab itself. */
export function takeFromSlab(count: number): Buffer {
  if (count > SLAB_SIZE / 2) {
    const chunk = slab.subarray(0, count)
    slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
    return chunk
  }
  const chunk = Buffer.allocUnsafe(count)
  slab.copy(chunk, 0, 0, count)
  return chunk
}
