import { checkInteger } from './codec.js'
import { SOL_SOCKET } from './constants.js'
import { check } from './error.js'
import type { AsFd } from './fd.js'
import { native } from './native.js'

/** One instruction of classic BPF: `struct sock_filter`. */
export interface FilterInstruction {
  /** `BPF_…`, combined with `|`. 16 bits. */
  readonly code: number
  /** How many instructions to skip when a jump's condition holds, 0 … 255. */
  readonly jt: number
  /** How many instructions to skip when it doesn't, 0 … 255. */
  readonly jf: number
  /** A constant or an offset, 32 bits, with or without sign. */
  readonly k: number
}

/** An instruction that doesn't jump. */
export function BPF_STMT(code: number, k: number): FilterInstruction {
  return { code, jt: 0, jf: 0, k }
}

/** A jump: skips `jt` instructions when the condition holds, else `jf`. */
export function BPF_JUMP(code: number, k: number, jt: number, jf: number): FilterInstruction {
  return { code, jt, jf, k }
}

/**
 * setsockopt(2) `SO_ATTACH_FILTER`: a classic BPF program that looks at each packet before it is queued and returns how
 * many of its bytes to keep; 0 drops it. Replaces the filter that is there. Offset 0 is the first byte of the transport
 * header (UDP, TCP), so that a UDP payload begins at 8; on packet and Unix sockets it is the first byte of all.
 *
 *     // Only datagrams whose payload begins with 0x2a.
 *     attachFilter(socket, [
 *       BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
 *       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x2a, 0, 1),
 *       BPF_STMT(BPF_RET | BPF_K, 0xffff_ffff),
 *       BPF_STMT(BPF_RET | BPF_K, 0),
 *     ])
 *
 * What came before stays in the queue: to be sure, attach a filter that drops all, empty the queue, then attach your
 * own.
 *
 * every Linux
 * @throws RangeError for more than 4096 instructions or none
 * @throws SystemError `EINVAL` for a program that could fail, `EPERM` once `SO_LOCK_FILTER` is set
 * @see {@link https://docs.kernel.org/networking/filter.html filter}
 */
export function attachFilter(socket: AsFd, program: readonly FilterInstruction[]): void {
  attach(socket, SO_ATTACH_FILTER, 'SO_ATTACH_FILTER', program)
}

/**
 * getsockopt(2) `SO_GET_FILTER`: the classic program that is attached; empty when there is none.
 *
 * Linux 3.8
 * @throws SystemError `EACCES` when what is attached is an eBPF program
 */
export function getFilter(socket: AsFd): FilterInstruction[] {
  const bytes = new Uint8Array(BPF_MAXINSNS * INSTRUCTION)
  const result = native.getsockopt(socket.fd, SOL_SOCKET, SO_ATTACH_FILTER, bytes, bytes.length)
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
 * setsockopt(2) `SO_DETACH_FILTER`: ends `attachFilter` and `attachProgram`.
 *
 * every Linux
 * @throws SystemError `ENOENT` when there is none, `EPERM` once `SO_LOCK_FILTER` is set
 */
export function detachFilter(socket: AsFd): void {
  setInt(socket, SO_DETACH_FILTER, 'SO_DETACH_FILTER', 0)
}

/**
 * setsockopt(2) `SO_ATTACH_BPF`: as `attachFilter`, with an eBPF program that was loaded elsewhere
 * (`BPF_PROG_TYPE_SOCKET_FILTER`). The socket keeps it; the descriptor may be closed.
 *
 * Linux 3.19
 * @throws SystemError `EINVAL` for a descriptor that is no such program, `EPERM` once `SO_LOCK_FILTER` is set
 * @see {@link https://man7.org/linux/man-pages/man2/bpf.2.html bpf(2)}
 */
export function attachProgram(socket: AsFd, program: AsFd): void {
  setInt(socket, SO_ATTACH_BPF, 'SO_ATTACH_BPF', program.fd)
}

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_CBPF`: a classic BPF program that chooses, for each packet or connection, among
 * the sockets that share an address (`SO_REUSEPORT`): it returns their index in the order in which they were bound
 * (UDP) or began to listen (TCP); any other number falls back to the hash. It holds for all of them. Offset 0 is the
 * first byte of the payload.
 *
 *     // The worker that belongs to the CPU.
 *     attachReusePortFilter(socket, [
 *       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU),
 *       BPF_STMT(BPF_RET | BPF_A, 0),
 *     ])
 *
 * Linux 4.5 (UDP), 4.6 (TCP)
 * @throws RangeError for more than 4096 instructions or none
 * @throws SystemError `EINVAL` for a program that could fail, or when the socket is bound without `SO_REUSEPORT`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function attachReusePortFilter(socket: AsFd, program: readonly FilterInstruction[]): void {
  attach(socket, SO_ATTACH_REUSEPORT_CBPF, 'SO_ATTACH_REUSEPORT_CBPF', program)
}

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_EBPF`: as `attachReusePortFilter`, with an eBPF program that was loaded elsewhere
 * (`BPF_PROG_TYPE_SOCKET_FILTER` or `BPF_PROG_TYPE_SK_REUSEPORT`).
 *
 * Linux 4.5 (UDP), 4.6 (TCP), 4.19 (`BPF_PROG_TYPE_SK_REUSEPORT`)
 * @throws SystemError `EINVAL` for a descriptor that is no such program, or when the socket is bound without
 * `SO_REUSEPORT`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function attachReusePortProgram(socket: AsFd, program: AsFd): void {
  setInt(socket, SO_ATTACH_REUSEPORT_EBPF, 'SO_ATTACH_REUSEPORT_EBPF', program.fd)
}

/**
 * setsockopt(2) `SO_DETACH_REUSEPORT_BPF`: ends `attachReusePortFilter` and `attachReusePortProgram` for all sockets
 * that share the address.
 *
 * Linux 5.3
 * @throws SystemError `ENOENT` when there is none, `EINVAL` on a socket that shares no address
 */
export function detachReusePortFilter(socket: AsFd): void {
  setInt(socket, SO_DETACH_REUSEPORT_BPF, 'SO_DETACH_REUSEPORT_BPF', 0)
}

// These take a pointer, a descriptor or nothing, so that they are functions and no rows.
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

/** The most instructions that a classic program has. */
export const BPF_MAXINSNS = 4096
/** The words of scratch memory, for `BPF_MEM`. */
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
/** End: how many **bytes** to keep, or which socket. */
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
/** A ÷ operand; by 0 the packet is dropped. */
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

/** Where BPF_ABS finds what isn't in the packet: `SKF_AD_OFF + SKF_AD_CPU`. */
export const SKF_AD_OFF = -0x1000
/** The EtherType, in host byte order. */
export const SKF_AD_PROTOCOL = 0
/** `PACKET_HOST`, …: packet(7). */
export const SKF_AD_PKTTYPE = 4
/** The interface’s index. */
export const SKF_AD_IFINDEX = 8
/** The offset of the netlink attribute of type X, from offset A on; 0 for none. */
export const SKF_AD_NLATTR = 12
/** The same within the nested attribute at A. */
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
/** Whether there is one. */
export const SKF_AD_VLAN_TAG_PRESENT = 48
/** Where the payload begins. */
export const SKF_AD_PAY_OFFSET = 52
/** A random number. */
export const SKF_AD_RANDOM = 56
/** The VLAN’s EtherType. */
export const SKF_AD_VLAN_TPID = 60
/** Where BPF_ABS finds the network header. */
export const SKF_NET_OFF = -0x100000
/** Where BPF_ABS finds the link-layer header. */
export const SKF_LL_OFF = -0x200000

/** `sizeof(struct sock_filter)`. */
const INSTRUCTION = 8

function attach(socket: AsFd, option: number, name: string, program: readonly FilterInstruction[]): void {
  check(native.setsockopt_fprog(socket.fd, SOL_SOCKET, option, encode(program, name)), 'setsockopt', name)
}

function encode(program: readonly FilterInstruction[], what: string): Uint8Array {
  if (!Array.isArray(program)) throw new TypeError(`${what}: the program must be an array of instructions`)
  if (program.length === 0 || program.length > BPF_MAXINSNS) {
    throw new RangeError(`${what}: the program must have 1 to ${BPF_MAXINSNS} instructions, not ${program.length}`)
  }
  const bytes = new Uint8Array(program.length * INSTRUCTION)
  const view = new DataView(bytes.buffer)
  for (const [i, { code, jt, jf, k }] of (program as readonly FilterInstruction[]).entries()) {
    checkInteger(code, 0, 0xffff, `${what}: program[${i}].code`)
    checkInteger(jt, 0, 0xff, `${what}: program[${i}].jt`)
    checkInteger(jf, 0, 0xff, `${what}: program[${i}].jf`)
    checkInteger(k, -0x8000_0000, 0xffff_ffff, `${what}: program[${i}].k`)
    view.setUint16(i * INSTRUCTION, code, true)
    view.setUint8(i * INSTRUCTION + 2, jt)
    view.setUint8(i * INSTRUCTION + 3, jf)
    view.setInt32(i * INSTRUCTION + 4, k, true)
  }
  return bytes
}

function setInt(socket: AsFd, option: number, name: string, value: number): void {
  const bytes = new Uint8Array(new Int32Array([value]).buffer)
  check(native.setsockopt(socket.fd, SOL_SOCKET, option, bytes, bytes.length), 'setsockopt', name)
}
