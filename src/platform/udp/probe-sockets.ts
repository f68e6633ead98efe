import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { AppError } from "../../model/error.ts";
import { ipv4ToNumber, isIpv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { formatEndpoint, ipv6ToNumber, isIpv6, parseHostAddress, parseIpv6 } from "../../model/ip6.ts";
import type { ProbeReceiver, ProbeSocket, ProbeSockets } from "../ports/probe-sockets.ts";

// Numbers of Linux, the same on x86-64 and arm64: <sys/socket.h>, <netinet/in.h>, <asm-generic/errno.h>.
const [AF_INET, AF_INET6] = [2, 10];
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
const [SOL_SOCKET, SO_REUSEADDR] = [1, 2];
const [IPPROTO_IP, IP_MTU_DISCOVER] = [0, 10];
const [IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_V6ONLY, IPV6_DONTFRAG] = [41, 23, 26, 62];
const ANY_ADDRESS = "0.0.0.0";
const ANY_ADDRESS6 = parseIpv6("::");
/** Sets "do not fragment" and disregards what ICMP made the kernel believe of the path: ip(7). */
const IP_PMTUDISC_PROBE = 3;
const EADDRINUSE = 98;
/** A kernel without IPv6. */
const EAFNOSUPPORT = 97;

const { i32, u32 } = FFIType;

/** Loaded on first use: a CLI command that opens no socket needs no libc. */
let loaded: ReturnType<typeof openLibc> | null = null;

function libc(): ReturnType<typeof openLibc>["symbols"] {
  loaded ??= openLibc();
  return loaded.symbols;
}

function openLibc() {
  return dlopen("libc.so.6", {
    socket: { args: [i32, i32, i32], returns: i32 },
    setsockopt: { args: [i32, i32, i32, FFIType.ptr, u32], returns: i32 },
    bind: { args: [i32, FFIType.ptr, u32], returns: i32 },
    close: { args: [i32], returns: i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });
}

/**
 * Probe sockets on one port. Bun's sockets have no way to set IP_MTU_DISCOVER, so the socket is made by libc and then
 * handed to Bun, whose event loop reads it.
 */
export class LinuxProbeSockets implements ProbeSockets {
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  /** Of both families where all addresses are meant: hosts may have either. */
  async open(address: string, receive: ProbeReceiver): Promise<ProbeSocket> {
    const first = await this.#openOne(parseHostAddress(address), receive);
    if (first === null) throw new AppError("unavailable", `Cannot listen on ${address}: this kernel has no IPv6`);
    if (address !== ANY_ADDRESS) return first;
    const second = await this.#openOne(ANY_ADDRESS6, receive).catch((error: unknown) => {
      first.close();
      throw error;
    });
    return {
      send: (bytes, to) => (isIpv4(to) ? first : second)?.send(bytes, to) ?? false,
      close: () => {
        first.close();
        second?.close();
      },
    };
  }

  /** Null for an IPv6 address where the kernel has none. */
  async #openOne(address: HostAddress, receive: ProbeReceiver): Promise<ProbeSocket | null> {
    const fd = bindSocket(address, this.#port);
    if (fd === null) return null;
    const options: Bun.udp.SocketOptions<"buffer"> & { readonly fd: number } = {
      fd,
      socket: {
        data: (_, bytes, port, from) => {
          // Peers send from the port of the protocol; what comes from elsewhere is none of theirs.
          if (port === this.#port && (isIpv4(from) || isIpv6(from))) receive(bytes, from);
        },
        // A refused port on the other side is reported here; the probe that is not answered says the same.
        error: () => undefined,
      },
    };
    const socket = await Bun.udpSocket(options);
    return {
      send: (bytes, to) => {
        try {
          return socket.send(bytes, this.#port, to);
        } catch (error) {
          if (error instanceof Error && "code" in error) return false;
          throw error;
        }
      },
      close: () => socket.close(),
    };
  }
}

function bindSocket(address: HostAddress, port: number): number | null {
  const { socket, setsockopt, bind, close } = libc();
  const six = !isIpv4(address);
  const fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0 && six && errno() === EAFNOSUPPORT) return null;
  if (fd < 0) throw new AppError("unavailable", `Cannot open a UDP socket: errno ${errno()}`);
  const set = (level: number, option: number, value: number): void => {
    if (setsockopt(fd, level, option, ptr(new Int32Array([value])), 4) === 0) return;
    const number = errno();
    close(fd);
    throw new AppError("internal", `Cannot set option ${level}/${option} of a UDP socket: errno ${number}`);
  };
  // Without it the wildcard address and one of its addresses cannot be bound side by side.
  set(SOL_SOCKET, SO_REUSEADDR, 1);
  if (six) {
    // The other family has a socket of its own.
    set(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set(IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    // Only with this the kernel does not cut what is too large itself.
    set(IPPROTO_IPV6, IPV6_DONTFRAG, 1);
  } else set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  const where = socketAddress(address, port);
  if (bind(fd, ptr(where), where.byteLength) === 0) return fd;
  const number = errno();
  close(fd);
  throw number === EADDRINUSE
    ? new AppError("conflict", `Cannot listen on ${formatEndpoint(address, port)}/udp: another program does`, {
        hint: `See which: ss -lunp 'sport = :${port}'`,
      })
    : new AppError("unavailable", `Cannot listen on ${formatEndpoint(address, port)}/udp: errno ${number}`);
}

/** struct sockaddr_in or sockaddr_in6: family in the machine's order (little-endian on all we build for), the rest in the net's. */
function socketAddress(address: HostAddress, port: number): ArrayBuffer {
  const where = new DataView(new ArrayBuffer(isIpv4(address) ? 16 : 28));
  where.setUint16(0, isIpv4(address) ? AF_INET : AF_INET6, true);
  where.setUint16(2, port);
  if (isIpv4(address)) where.setUint32(4, ipv4ToNumber(address));
  else {
    const value = ipv6ToNumber(address);
    where.setBigUint64(8, value >> 64n);
    where.setBigUint64(16, value & 0xffff_ffff_ffff_ffffn);
  }
  return where.buffer;
}

function errno(): number {
  const at = libc().__errno_location();
  return at === null ? 0 : read.i32(at);
}
