import { bool, type Codec, control, type Encoder, rw, wo } from '@linux-sockets/native-core/codecs'
import { checkBytes, checkInteger, checkObject, needBytes } from '@linux-sockets/native-core/internal'

/** The level of the options and control messages of kernel TLS. */
export const SOL_TLS = 282

/** TLS 1.2. Linux 4.13 */
export const TLS_1_2_VERSION = 0x0303
/** TLS 1.3. Linux 5.1 */
export const TLS_1_3_VERSION = 0x0304

// RFC 5288, RFC 6655, RFC 7905, RFC 8998, RFC 6209
/** AES-GCM with a key of 16 **bytes**, a salt of 4 and an iv of 8. Linux 4.13 */
export const TLS_CIPHER_AES_GCM_128 = 51
/** AES-GCM with a key of 32 **bytes**, a salt of 4 and an iv of 8. Linux 5.1 */
export const TLS_CIPHER_AES_GCM_256 = 52
/** AES-CCM with a key of 16 **bytes**, a salt of 4 and an iv of 8. Linux 5.2 */
export const TLS_CIPHER_AES_CCM_128 = 53
/** ChaCha20-Poly1305 with a key of 32 **bytes**, no salt and an iv of 12. Linux 5.11 */
export const TLS_CIPHER_CHACHA20_POLY1305 = 54
/** SM4-GCM with a key of 16 **bytes**, a salt of 4 and an iv of 8. Linux 5.16 */
export const TLS_CIPHER_SM4_GCM = 55
/** SM4-CCM with a key of 16 **bytes**, a salt of 4 and an iv of 8. Linux 5.16 */
export const TLS_CIPHER_SM4_CCM = 56
/** ARIA-GCM with a key of 16 **bytes**, a salt of 4 and an iv of 8. Linux 6.1 */
export const TLS_CIPHER_ARIA_GCM_128 = 57
/** ARIA-GCM with a key of 32 **bytes**, a salt of 4 and an iv of 8. Linux 6.1 */
export const TLS_CIPHER_ARIA_GCM_256 = 58

/**
 * `struct tls12_crypto_info_…`: the encryption parameters of one direction, as agreed in the handshake. The names are those
 * of C.
 */
export interface TlsCryptoInfo {
  /** `TLS_1_2_VERSION` or `TLS_1_3_VERSION`. */
  readonly version: number
  /** `TLS_CIPHER_…`, which determines the lengths of `iv`, `key` and `salt`. */
  readonly cipher_type: number
  /** The part of the nonce that follows the salt. */
  readonly iv: Uint8Array
  /** The key, of the length that the cipher requires. */
  readonly key: Uint8Array
  /** The part of the nonce that never changes. */
  readonly salt: Uint8Array
  /** The sequence number of the next record: 8 **bytes**, big-endian. */
  readonly rec_seq: Uint8Array
}

/**
 * The kernel encrypts what is sent from now on, by send(2), sendfile(2) or splice(2), and puts it into records. The program
 * must do the handshake and set `TCP_ULP` to `'tls'` before. Set it again for a TLS 1.3 key update.
 * set · Linux 4.13, 6.14 (again)
 * @throws TypeError, RangeError for an unknown cipher, or a part that is too short or too long for it
 * @throws SystemError `ENOPROTOOPT` without `TCP_ULP`, `EINVAL` or `ENOENT` for a cipher that this kernel doesn't support,
 * `EBUSY` if it is already set
 * @see {@link https://docs.kernel.org/networking/tls.html Kernel TLS}
 */
export const TLS_TX = wo('TLS_TX', SOL_TLS, 1, cryptoInfo())

/**
 * The kernel decrypts what is received from now on. recv(2) returns the data of application records. Other records, such as
 * alerts, come with `TLS_GET_RECORD_TYPE`; without room for that control message, receiving them fails with `EIO`.
 * set · Linux 4.17, 6.14 (again)
 * @throws TypeError, RangeError for an unknown cipher, or a part that is too short or too long for it
 * @throws SystemError `ENOPROTOOPT` without `TCP_ULP`, `EINVAL` or `ENOENT` for a cipher that this kernel doesn't support,
 * `EBUSY` if it is already set
 * @see {@link https://docs.kernel.org/networking/tls.html Kernel TLS}
 */
export const TLS_RX = wo('TLS_RX', SOL_TLS, 2, cryptoInfo())

/**
 * sendfile(2) passes the file's own pages to a device that encrypts; they must then not change until they are acknowledged.
 * Default false.
 * get/set · Linux 5.19
 * @see {@link https://docs.kernel.org/networking/tls.html Kernel TLS}
 */
export const TLS_TX_ZEROCOPY_RO = rw('TLS_TX_ZEROCOPY_RO', SOL_TLS, 3, bool)

/**
 * The kernel decrypts TLS 1.3 records directly into the program's buffer, as long as the peer pads none. Default false.
 * get/set · Linux 6.0
 * @throws SystemError `EINVAL` before `TLS_RX`, or with TLS 1.2
 * @see {@link https://docs.kernel.org/networking/tls.html Kernel TLS}
 */
export const TLS_RX_EXPECT_NO_PAD = rw('TLS_RX_EXPECT_NO_PAD', SOL_TLS, 4, bool)

/**
 * The type of the record in which a message is sent: 21 for an alert, 22 for the handshake. Default 23: application data.
 */
export const TLS_SET_RECORD_TYPE = control('TLS_SET_RECORD_TYPE', SOL_TLS, 1, recordType())

/** The type of the record in which a message was received. */
export const TLS_GET_RECORD_TYPE = control('TLS_GET_RECORD_TYPE', SOL_TLS, 2, recordType())

interface Sizes {
  readonly iv: number
  readonly key: number
  readonly salt: number
}

const sizes: Readonly<Record<number, Sizes>> = {
  [TLS_CIPHER_AES_GCM_128]: { iv: 8, key: 16, salt: 4 },
  [TLS_CIPHER_AES_GCM_256]: { iv: 8, key: 32, salt: 4 },
  [TLS_CIPHER_AES_CCM_128]: { iv: 8, key: 16, salt: 4 },
  [TLS_CIPHER_CHACHA20_POLY1305]: { iv: 12, key: 32, salt: 0 },
  [TLS_CIPHER_SM4_GCM]: { iv: 8, key: 16, salt: 4 },
  [TLS_CIPHER_SM4_CCM]: { iv: 8, key: 16, salt: 4 },
  [TLS_CIPHER_ARIA_GCM_128]: { iv: 8, key: 16, salt: 4 },
  [TLS_CIPHER_ARIA_GCM_256]: { iv: 8, key: 32, salt: 4 },
}

/** An encoder only: the kernel refuses to return it in any length but the cipher's, which a codec can't know. */
function cryptoInfo(): Encoder<TlsCryptoInfo> {
  return {
    size: 56,
    encode: (value, view, what) => {
      checkObject(value, what)
      checkInteger(value.version, 0, 0xffff, `${what}.version`)
      checkInteger(value.cipher_type, 0, 0xffff, `${what}.cipher_type`)
      const size = sizes[value.cipher_type]
      if (size === undefined) throw new RangeError(`${what}.cipher_type is not known: ${value.cipher_type}`)
      view.setUint16(0, value.version, true)
      view.setUint16(2, value.cipher_type, true)
      const target = new Uint8Array(view.buffer, view.byteOffset)
      let at = 4
      for (const [part, length] of [...Object.entries(size), ['rec_seq', 8]] as [keyof Sizes | 'rec_seq', number][]) {
        target.set(exactly(value[part], length, `${what}.${part}`), at)
        at += length
      }
      return at
    },
  }
}

function exactly(bytes: Uint8Array, length: number, what: string): Uint8Array {
  checkBytes(bytes, what)
  if (bytes.length !== length) throw new RangeError(`${what} must be ${length} bytes, not ${bytes.length}`)
  return bytes
}

/** One byte. */
function recordType(): Codec<number> {
  return {
    size: 1,
    encode: (value, view, what) => {
      checkInteger(value, 0, 0xff, what)
      view.setUint8(0, value)
      return 1
    },
    decode: (view, length) => {
      needBytes(length, 1, 'record type')
      return view.getUint8(0)
    },
  }
}
