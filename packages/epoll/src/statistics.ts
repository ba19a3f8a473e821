import type { ListenerStatistics } from '@linux-sockets/native-core/streams'

/** The traffic so far, of one connection or of several. */
export interface ConnectionStatistics {
  /** **Bytes** received. */
  readonly bytesRead: number
  /** **Bytes** that the kernel has accepted for sending. */
  readonly bytesWritten: number
  /** Receive calls, including those that found nothing. */
  readonly reads: number
  /** Send calls, including those that the kernel refused. */
  readonly writes: number
  /** Receive and send calls that would have blocked, and send calls that the kernel accepted only in part. */
  readonly wouldBlock: number
  /** The most **bytes** that were queued for sending at a time. Of several connections, the highest of any. */
  readonly peakQueuedBytes: number
}

/**
 * The counts of accepted connections, and the traffic of all connections, including those that are closed. The traffic of
 * streams that were made of connections is not included.
 */
export interface ServerStatistics extends ListenerStatistics, ConnectionStatistics {}

/** Counts traffic. */
export class Tally implements ConnectionStatistics {
  bytesRead = 0
  bytesWritten = 0
  reads = 0
  writes = 0
  wouldBlock = 0
  peakQueuedBytes = 0

  add(other: ConnectionStatistics): this {
    this.bytesRead += other.bytesRead
    this.bytesWritten += other.bytesWritten
    this.reads += other.reads
    this.writes += other.writes
    this.wouldBlock += other.wouldBlock
    this.peakQueuedBytes = Math.max(this.peakQueuedBytes, other.peakQueuedBytes)
    return this
  }

  /** Returns a copy that does not change. */
  copy(): ConnectionStatistics {
    return { ...this }
  }
}
