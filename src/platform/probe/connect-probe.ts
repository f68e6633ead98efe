import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { ipv4ToNumber, isIpv4 } from "../../model/ip.ts";
import { ipv6ToNumber } from "../../model/ip6.ts";
import type { ConnectResult, NetInspector } from "../ports/net-inspector.ts";

type Target = Parameters<NetInspector["connect"]>[1];
type Outcome = Pick<ConnectResult, "outcome" | "cause">;

// Numbers of Linux, the same on x86-64 and arm64: <sys/socket.h>, <poll.h>, <asm-generic/errno.h>.
const [AF_INET, AF_INET6] = [2, 10];
const [SOCK_STREAM, SOCK_DGRAM, NONBLOCK_CLOEXEC] = [1, 2, 0o4000 | 0o2000000];
const [SOL_SOCKET, SO_ERROR] = [1, 4];
const [POLLIN, POLLOUT] = [1, 4];
const EINPROGRESS = 115;
const WORDS: Readonly<Record<number, Outcome>> = {
  111: { outcome: "refused", cause: "connection refused" },
  110: { outcome: "silent", cause: "no answer" },
  113: { outcome: "unreachable", cause: "no route to host" },
  101: { outcome: "unreachable", cause: "network unreachable" },
  13: { outcome: "unreachable", cause: "prohibited" },
  1: { outcome: "unreachable", cause: "prohibited by this host's firewall" },
};

/** A datagram that no protocol takes for its own; what listens there drops it. */
const DATAGRAM = new TextEncoder().encode("apollo-trace\n");

const { i32, u32, u64 } = FFIType;

/**
 * Tries one connection from the namespace that this process is in, and waits for how it goes: for a process of its own, since
 * nothing else happens meanwhile. By libc, because Bun 1.4 reports every failure as "connection refused", be it a
 * missing route, a firewall's answer or a closed port.
 */
export function connectProbe(target: Target): ConnectResult {
  const library = openLibc();
  const libc = library.symbols;
  const startMs = performance.now();
  const udp = target.protocol === "udp";
  const fd = libc.socket(
    isIpv4(target.address) ? AF_INET : AF_INET6,
    (udp ? SOCK_DGRAM : SOCK_STREAM) | NONBLOCK_CLOEXEC,
    0,
  );
  const errno = (): number => {
    const at = libc.__errno_location();
    return at === null ? 0 : read.i32(at, 0);
  };
  const fails = (result: number | bigint): number => (Number(result) < 0 ? errno() : 0);
  /** 0 once it is connected, -1 when nothing came in time. */
  const wait = (events: number): number => {
    const polled = new DataView(new ArrayBuffer(8));
    polled.setInt32(0, fd, true);
    polled.setInt16(4, events, true);
    if (libc.poll(ptr(polled), 1, target.timeoutMs) === 0) return -1;
    const [error, size] = [new Int32Array(1), new Uint32Array([4])];
    return fails(libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, ptr(error), ptr(size))) || (error[0] ?? 0);
  };
  try {
    const address = socketAddress(target);
    const begun = fd < 0 ? errno() : fails(libc.connect(fd, ptr(address), address.length));
    let code = begun;
    if (udp && begun === 0) code = fails(libc.send(fd, ptr(DATAGRAM), DATAGRAM.length, 0)) || wait(POLLIN);
    if (!udp && begun === EINPROGRESS) code = wait(POLLOUT);
    return { ...describe(code, target), ms: Math.round((performance.now() - startMs) * 10) / 10 };
  } finally {
    if (fd >= 0) libc.close(fd);
    library.close();
  }
}

/** Silence is the usual answer of UDP; that nobody listens is told by ICMP. */
function describe(code: number, { protocol, timeoutMs }: Target): Outcome {
  if (code === 0 || (code === -1 && protocol === "udp")) return { outcome: "open", cause: null };
  if (code === -1) return { outcome: "silent", cause: `no answer within ${timeoutMs / 1000} s` };
  return WORDS[code] ?? { outcome: "failed", cause: `error ${code} of the kernel` };
}

/** `struct sockaddr_in` or `sockaddr_in6`: the family in the machine's order, the rest in the network's. */
function socketAddress({ address, port }: Target): Uint8Array {
  const six = !isIpv4(address);
  const bytes = new Uint8Array(six ? 28 : 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, six ? AF_INET6 : AF_INET, true);
  view.setUint16(2, port);
  if (isIpv4(address)) view.setUint32(4, ipv4ToNumber(address));
  else {
    // After four bytes of flow label, which is none.
    view.setBigUint64(8, ipv6ToNumber(address) >> 64n);
    view.setBigUint64(16, BigInt.asUintN(64, ipv6ToNumber(address)));
  }
  return bytes;
}

function openLibc() {
  return dlopen("libc.so.6", {
    socket: { args: [i32, i32, i32], returns: i32 },
    connect: { args: [i32, FFIType.ptr, u32], returns: i32 },
    poll: { args: [FFIType.ptr, u64, i32], returns: i32 },
    getsockopt: { args: [i32, i32, i32, FFIType.ptr, FFIType.ptr], returns: i32 },
    send: { args: [i32, FFIType.ptr, u64, i32], returns: FFIType.i64 },
    close: { args: [i32], returns: i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });
}
