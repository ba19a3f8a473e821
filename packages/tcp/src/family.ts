/** The socket family that goes with an encoded address: `sa_family`, in host order. */
export function familyOf(sockaddr: Uint8Array): number {
  return (sockaddr[0] as number) | ((sockaddr[1] as number) << 8)
}
