/** What went through a connection so far, or through all of a reactor. */
export class ConnectionStatistics {
  /** **Bytes** received. */
  bytesRead = 0
  /** **Bytes** that the kernel has taken. */
  bytesWritten = 0
  /** Calls that received, those that found nothing included. */
  reads = 0
  /** Calls that sent, those that the kernel refused included. */
  writes = 0
  /** Calls of both kinds that would have blocked, and sends that the kernel took in part. */
  wouldBlocks = 0
  /** The most **bytes** that have waited to be sent. */
  queueHighWater = 0

  /** The numbers as they are now. */
  copy(): ConnectionStatistics {
    return Object.assign(new ConnectionStatistics(), this)
  }
}
