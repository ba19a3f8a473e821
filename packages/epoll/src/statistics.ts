/** The traffic of a connection so far, or of all connections of a reactor. */
export class ConnectionStatistics {
  /** **Bytes** received. */
  bytesRead = 0
  /** **Bytes** that the kernel has accepted for sending. */
  bytesWritten = 0
  /** Receive calls, including those that found nothing. */
  reads = 0
  /** Send calls, including those that the kernel refused. */
  writes = 0
  /** Receive and send calls that would have blocked, and send calls that the kernel accepted only in part. */
  wouldBlocks = 0
  /** The most **bytes** that were queued for sending at a time. */
  queueHighWater = 0

  /** Returns a copy that does not change. */
  copy(): ConnectionStatistics {
    return Object.assign(new ConnectionStatistics(), this)
  }
}
