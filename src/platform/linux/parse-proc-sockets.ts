import { formatIpv6 } from "../../model/ip6.ts";
import type { SeenListener } from "../ports/net-inspector.ts";

/** TCP state LISTEN, UDP without a peer: include/net/tcp_states.h. */
const WAITING = { tcp: "0A", udp: "07" } as const;

/** Readers that wait, of the text of `/proc/net/{tcp,tcp6,udp,udp6}` one after the other. Lines that are no sockets are left out. */
export function parseProcSockets(text: string, protocol: "tcp" | "udp"): readonly SeenListener[] {
  const seen = new Map<string, SeenListener>();
  for (const line of text.split("\n")) {
    const match = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) /.exec(line);
    if (match === null || match[3] !== WAITING[protocol]) continue;
    const address = readAddress(match[1] ?? "");
    const port = Number.parseInt(match[2] ?? "", 16);
    seen.set(`${address} ${port}`, { address, port });
  }
  return [...seen.values()].toSorted((a, b) => a.port - b.port || (a.address < b.address ? -1 : 1));
}

/** The kernel prints each 32-bit word as the machine holds it: little-endian on all machines that we run on. */
function readAddress(hex: string): string {
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) =>
    (word.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).toReversed(),
  );
  if (bytes.length === 4) return bytes.join(".");
  // IPv4 in IPv6 (RFC 4291 §2.5.5.2), which is how a dual-stack socket bound to an IPv4 address shows.
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255) {
    return bytes.slice(12).join(".");
  }
  return formatIpv6(bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n));
}
