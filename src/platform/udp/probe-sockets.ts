import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { AppError } from "../../model/error.ts";
import { type Ipv4, ipv4ToNumber, isIpv4, parseIpv4 } from "../../model/ip.ts";
import type { ProbeReceiver, ProbeSocket, ProbeSockets } from "../ports/probe-sockets.ts";

// Numbers of Linux, the same on x86-64 and arm64: <sys/socket.h>, <netinet/in.h>, <asm-generic/errno.h>.
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
const [SOL_SOCKET, SO_REUSEADDR] = [1, 2];
const [IPPROTO_IP, IP_MTU_DISCOVER] = [0, 10];
/** Sets "do not fragment" and disregards what ICMP made the kernel believe of the path: ip(7). */
const IP_PMTUDISC_PROBE = 3;
const EADDRINUSE = 98;

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

  async open(address: string, receive: ProbeReceiver): Promise<ProbeSocket> {
    const fd = bindSocket(parseIpv4(address), this.#port);
    const options: Bun.udp.SocketOptions<"buffer"> & { readonly fd: number } = {
      fd,
      socket: {
        data: (_, bytes, port, from) => {
          // Peers send from the port of the protocol; what comes from elsewhere is none of theirs.
          if (port === this.#port && isIpv4(from)) receive(bytes, from);
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

function bindSocket(address: Ipv4, port: number): number {
  const { socket, setsockopt, bind, close } = libc();
  const fd = socket(AF_INET, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) throw new AppError("unavailable", `Cannot open a UDP socket: errno ${errno()}`);
  const set = (level: number, option: number, value: number): void => {
    if (setsockopt(fd, level, option, ptr(new Int32Array([value])), 4) === 0) return;
    const number = errno();
    close(fd);
    throw new AppError("internal", `Cannot set option ${level}/${option} of a UDP socket: errno ${number}`);
  };
  // Without it the wildcard address and one of its addresses cannot be bound side by side.
  set(SOL_SOCKET, SO_REUSEADDR, 1);
  set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  // struct sockaddr_in: family in the machine's order (little-endian on all we build for), port and address in the net's.
  const where = new DataView(new ArrayBuffer(16));
  where.setUint16(0, AF_INET, true);
  where.setUint16(2, port);
  where.setUint32(4, ipv4ToNumber(address));
  if (bind(fd, ptr(where.buffer), 16) === 0) return fd;
  const number = errno();
  close(fd);
  throw number === EADDRINUSE
    ? new AppError("conflict", `Cannot listen on ${address}:${port}/udp: another program does`, {
        hint: `See which: ss -lunp 'sport = :${port}'`,
      })
    : new AppError("unavailable", `Cannot listen on ${address}:${port}/udp: errno ${number}`);
}

function errno(): number {
  const at = libc().__errno_location();
  return at === null ? 0 : read.i32(at);
}
