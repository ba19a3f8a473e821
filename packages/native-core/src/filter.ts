import { checkFlags, checkInteger, checkObject, describe } from './argument.js'
import { SOL_SOCKET } from './constants.js'
import { check } from './error.js'
import { type FdLike, fdOf } from './fd.js'
import { native } from './native.js'

/** One instruction of classic BPF: `struct sock_filter`. */
export interface FilterInstruction {
  /** `BPF_…`, combined with `|`. 16 bits. */
  readonly code: number
  /** The number of instructions to skip if a jump's condition holds, 0 … 255. */
  readonly jt: number
  /** The number of instructions to skip if it doesn't, 0 … 255. */
  readonly jf: number
  /** A constant or an offset, 32 bits, with or without sign. */
  readonly k: number
}

/** An instruction that doesn't jump. */
export function BPF_STMT(code: number, k: number): FilterInstruction {
  return instruction(code, 0, 0, k)
}

/** A jump: skips `jt` instructions if the condition holds, else `jf`. */
export function BPF_JUMP(code: number, k: number, jt: number, jf: number): FilterInstruction {
  return instruction(code, jt, jf, k)
}

/**
 * setsockopt(2) `SO_ATTACH_FILTER`: attaches a classic BPF program that sees each packet before it is queued and returns
 * the number of its bytes to keep; 0 drops it. Replaces an attached filter. Offset 0 is the first byte of the transport
 * header (UDP, TCP), so that a UDP payload begins at 8; on packet and Unix sockets it is the very first byte.
 *
 *     // Only datagrams whose payload begins with 0x2a.
 *     attachFilter(socket, [
 *       BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
 *       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x2a, 0, 1),
 *       BPF_STMT(BPF_RET | BPF_K, 0xffff_ffff),
 *       BPF_STMT(BPF_RET | BPF_K, 0),
 *     ])
 *
 * Packets that were queued before stay in the queue: to be sure, attach a filter that drops all, empty the queue, then
 * attach your own.
 *
 * every Linux
 * @throws RangeError for more than 4096 instructions or none
 * @throws SystemError `EINVAL` for a program that could fail, `EPERM` once `SO_LOCK_FILTER` is set
 * @see {@link https://docs.kernel.org/networking/filter.html filter}
 */
export function attachFilter(socket: FdLike, program: readonly FilterInstruction[]): void {
  attach(socket, SO_ATTACH_FILTER, 'SO_ATTACH_FILTER', program)
}

/**
 * getsockopt(2) `SO_GET_FILTER`: returns the attached classic program; empty if there is none.
 *
 * Linux 3.8
 * @throws SystemError `EACCES` if an eBPF program is attached
 */
export function getFilter(socket: FdLike): FilterInstruction[] {
  const bytes = new Uint8Array(BPF_MAXINSNS * INSTRUCTION)
  const result = native.getsockopt(fdOf(socket, 'socket'), SOL_SOCKET, SO_ATTACH_FILTER, bytes, bytes.length)
  const length = check(result, 'getsockopt', 'SO_GET_FILTER')
  const view = new DataView(bytes.buffer)
  const program: FilterInstruction[] = []
  for (let at = 0; at < length; at += INSTRUCTION) {
    const [code, jt, jf] = [view.getUint16(at, true), view.getUint8(at + 2), view.getUint8(at + 3)]
    program.push({ code, jt, jf, k: view.getUint32(at + 4, true) })
  }
  return program
}

/**
 * setsockopt(2) `SO_DETACH_FILTER`: detaches the program of `attachFilter` or `attachProgram`.
 *
 * every Linux
 * @throws SystemError `ENOENT` if there is none, `EPERM` once `SO_LOCK_FILTER` is set
 */
export function detachFilter(socket: FdLike): void {
  setInt(socket, SO_DETACH_FILTER, 'SO_DETACH_FILTER', 0)
}

/**
 * setsockopt(2) `SO_ATTACH_BPF`: like `attachFilter`, with an eBPF program that was loaded elsewhere
 * (`BPF_PROG_TYPE_SOCKET_FILTER`). The socket keeps the program; its descriptor may be closed.
 *
 * Linux 3.19
 * @throws SystemError `EINVAL` for a descriptor that is no such program, `EPERM` once `SO_LOCK_FILTER` is set
 * @see {@link https://man7.org/linux/man-pages/man2/bpf.2.html bpf(2)}
 */
export function attachProgram(socket: FdLike, program: FdLike): void {
  setInt(socket, SO_ATTACH_BPF, 'SO_ATTACH_BPF', fdOf(program, 'program'))
}

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_CBPF`: attaches a classic BPF program to all sockets that share an address
 * (`SO_REUSEPORT`). It chooses one of them for each packet or connection: it returns the socket's index in the order in
 * which they were bound (UDP) or began to listen (TCP); any other number falls back to the hash. Offset 0 is the first byte
 * of the payload.
 *
 *     // The worker that belongs to the CPU.
 *     attachReusePortFilter(socket, [
 *       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU),
 *       BPF_STMT(BPF_RET | BPF_A, 0),
 *     ])
 *
 * Linux 4.5 (UDP), 4.6 (TCP)
 * @throws RangeError for more than 4096 instructions or none
 * @throws SystemError `EINVAL` for a program that could fail, or if the socket is bound without `SO_REUSEPORT`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function attachReusePortFilter(socket: FdLike, program: readonly FilterInstruction[]): void {
  attach(socket, SO_ATTACH_REUSEPORT_CBPF, 'SO_ATTACH_REUSEPORT_CBPF', program)
}

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_EBPF`: like `attachReusePortFilter`, with an eBPF program that was loaded elsewhere
 * (`BPF_PROG_TYPE_SOCKET_FILTER` or `BPF_PROG_TYPE_SK_REUSEPORT`).
 *
 * Linux 4.5 (UDP), 4.6 (TCP), 4.19 (`BPF_PROG_TYPE_SK_REUSEPORT`)
 * @throws SystemError `EINVAL` for a descriptor that is no such program, or if the socket is bound without `SO_REUSEPORT`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function attachReusePortProgram(socket: FdLike, program: FdLike): void {
  setInt(socket, SO_ATTACH_REUSEPORT_EBPF, 'SO_ATTACH_REUSEPORT_EBPF', fdOf(program, 'program'))
}

/**
 * setsockopt(2) `SO_DETACH_REUSEPORT_BPF`: detaches the program of `attachReusePortFilter` or `attachReusePortProgram` from
 * all sockets that share the address.
 *
 * Linux 5.3
 * @throws SystemError `ENOENT` if there is none, `EINVAL` on a socket that shares no address
 */
export function detachReusePortFilter(socket: FdLike): void {
  setInt(socket, SO_DETACH_REUSEPORT_BPF, 'SO_DETACH_REUSEPORT_BPF', 0)
}

// These take a pointer, a descriptor or nothing, so they have functions instead of rows.
/** `attachFilter` */
export const SO_ATTACH_FILTER = 26
/** `detachFilter` */
export const SO_DETACH_FILTER = 27
/** `attachProgram` */
export const SO_ATTACH_BPF = 50
/** `attachReusePortFilter` */
export const SO_ATTACH_REUSEPORT_CBPF = 51
/** `attachReusePortProgram` */
export const SO_ATTACH_REUSEPORT_EBPF = 52
/** `detachReusePortFilter` */
export const SO_DETACH_REUSEPORT_BPF = 68

/** The most instructions of a classic program. */
export const BPF_MAXINSNS = 4096
/** The number of words of scratch memory, for `BPF_MEM`. */
export const BPF_MEMWORDS = 16

// Classes
/** Load into the accumulator A. */
export const BPF_LD = 0x00
/** Load into the index register X. */
export const BPF_LDX = 0x01
/** Store A into scratch memory `M[k]`. */
export const BPF_ST = 0x02
/** Store X into scratch memory `M[k]`. */
export const BPF_STX = 0x03
/** Compute with A. */
export const BPF_ALU = 0x04
/** Jump forward. */
export const BPF_JMP = 0x05
/** Return: the number of **bytes** to keep, or the index of a socket. */
export const BPF_RET = 0x06
/** Copy between A and X. */
export const BPF_MISC = 0x07

// Sizes of BPF_LD and BPF_LDX
/** 4 bytes. */
export const BPF_W = 0x00
/** 2 bytes. */
export const BPF_H = 0x08
/** 1 byte. */
export const BPF_B = 0x10

// Modes of BPF_LD and BPF_LDX
/** The constant k. */
export const BPF_IMM = 0x00
/** The packet at k, in network byte order. */
export const BPF_ABS = 0x20
/** The packet at X + k. */
export const BPF_IND = 0x40
/** Scratch memory `M[k]`. */
export const BPF_MEM = 0x60
/** The packet’s length. */
export const BPF_LEN = 0x80
/** 4 · (the low half of the packet’s byte at k): the length of an IPv4 header. `BPF_LDX`. */
export const BPF_MSH = 0xa0

// Operations of BPF_ALU
/** A + operand. */
export const BPF_ADD = 0x00
/** A − operand. */
export const BPF_SUB = 0x10
/** A · operand. */
export const BPF_MUL = 0x20
/** A ÷ operand; division by 0 drops the packet. */
export const BPF_DIV = 0x30
/** A | operand. */
export const BPF_OR = 0x40
/** A & operand. */
export const BPF_AND = 0x50
/** A << operand. */
export const BPF_LSH = 0x60
/** A >> operand. */
export const BPF_RSH = 0x70
/** −A. */
export const BPF_NEG = 0x80
/** A modulo operand. */
export const BPF_MOD = 0x90
/** A ^ operand. */
export const BPF_XOR = 0xa0

// Conditions of BPF_JMP
/** Always, by k instructions. */
export const BPF_JA = 0x00
/** A = operand. */
export const BPF_JEQ = 0x10
/** A > operand. */
export const BPF_JGT = 0x20
/** A ≥ operand. */
export const BPF_JGE = 0x30
/** A & operand is not 0. */
export const BPF_JSET = 0x40

// Operands: the constant, the index register, the accumulator (for BPF_RET)
/** The constant k. */
export const BPF_K = 0x00
/** The index register. */
export const BPF_X = 0x08
/** The accumulator. */
export const BPF_A = 0x10

// Operations of BPF_MISC
/** X becomes A. */
export const BPF_TAX = 0x00
/** A becomes X. */
export const BPF_TXA = 0x80

/** The offset of data that isn't in the packet, for BPF_ABS: `SKF_AD_OFF + SKF_AD_CPU`. */
export const SKF_AD_OFF = -0x1000
/** The EtherType, in host byte order. */
export const SKF_AD_PROTOCOL = 0
/** `PACKET_HOST`, …: packet(7). */
export const SKF_AD_PKTTYPE = 4
/** The interface’s index. */
export const SKF_AD_IFINDEX = 8
/** The offset of the netlink attribute of type X, from offset A on; 0 for none. */
export const SKF_AD_NLATTR = 12
/** The same, within the nested attribute at A. */
export const SKF_AD_NLATTR_NEST = 16
/** The packet’s mark. */
export const SKF_AD_MARK = 20
/** The device’s queue. */
export const SKF_AD_QUEUE = 24
/** `ARPHRD_…`, the kind of device. */
export const SKF_AD_HATYPE = 28
/** The hash of the flow. */
export const SKF_AD_RXHASH = 32
/** The CPU that handles the packet. */
export const SKF_AD_CPU = 36
/** A ^ X. */
export const SKF_AD_ALU_XOR_X = 40
/** The VLAN’s tag. */
export const SKF_AD_VLAN_TAG = 44
/** Whether the packet has a VLAN tag. */
export const SKF_AD_VLAN_TAG_PRESENT = 48
/** The offset of the payload. */
export const SKF_AD_PAY_OFFSET = 52
/** A random number. */
export const SKF_AD_RANDOM = 56
/** The VLAN’s EtherType. */
export const SKF_AD_VLAN_TPID = 60
/** The offset of the network header, for BPF_ABS. */
export const SKF_NET_OFF = -0x100000
/** The offset of the link-layer header, for BPF_ABS. */
export const SKF_LL_OFF = -0x200000

/** `sizeof(struct sock_filter)`. */
const INSTRUCTION = 8

function attach(socket: FdLike, option: number, name: string, program: readonly FilterInstruction[]): void {
  check(native.setsockopt_fprog(fdOf(socket, 'socket'), SOL_SOCKET, option, encode(program)), 'setsockopt', name)
}

function instruction(code: number, jt: number, jf: number, k: number, where = ''): FilterInstruction {
  checkInteger(code, 0, 0xffff, `${where}code`)
  checkInteger(jt, 0, 0xff, `${where}jt`)
  checkInteger(jf, 0, 0xff, `${where}jf`)
  checkFlags(k, `${where}k`)
  return { code, jt, jf, k }
}

function encode(program: readonly FilterInstruction[]): Uint8Array {
  if (!Array.isArray(program)) {
    throw new TypeError(`program must be an array of instructions, not ${describe(program)}`)
  }
  if (program.length === 0 || program.length > BPF_MAXINSNS) {
    throw new RangeError(`program must have 1 to ${BPF_MAXINSNS} instructions, not ${program.length}`)
  }
  const bytes = new Uint8Array(program.length * INSTRUCTION)
  const view = new DataView(bytes.buffer)
  for (const [i, given] of (program as readonly FilterInstruction[]).entries()) {
    checkObject(given, `program[${i}]`)
    const { code, jt, jf, k } = instruction(given.code, given.jt, given.jf, given.k, `program[${i}].`)
    view.setUint16(i * INSTRUCTION, code, true)
    view.setUint8(i * INSTRUCTION + 2, jt)
    view.setUint8(i * INSTRUCTION + 3, jf)
    view.setInt32(i * INSTRUCTION + 4, k, true)
  }
  return bytes
}

function setInt(socket: FdLike, option: number, name: string, value: number): void {
  const bytes = new Uint8Array(new Int32Array([value]).buffer)
  check(native.setsockopt(fdOf(socket, 'socket'), SOL_SOCKET, option, bytes, bytes.length), 'setsockopt', name)
}
