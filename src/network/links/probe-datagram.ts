/**
 * The datagrams with which agents measure the paths between their hosts, UDP port 6783.
 *
 * Fixed header, big-endian: "aP", version, kind, three host tags of 8 bytes (sender of this datagram, origin of the
 * question, target), the sender's session (48 bits) and sequence number, the token of the question, a 16-bit detail, the
 * size of the whole datagram, and the first 16 bytes of an HMAC-SHA-256 over all before. What follows is padding: its
 * length is authenticated, its content is not looked at. An echo is never larger than its question.
 */
import type { HostAddress } from "../../model/ip6.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { HostId } from "../../model/ids.ts";
import type { Mac } from "../../platform/ports/mac.ts";

export const PROBE_PORT = 6783;
/** Header and code, without padding. */
export const PROBE_BYTES_MIN = 62;
/** No device that we route over carries more; larger datagrams are not looked at. */
export const PROBE_BYTES_MAX = 16_384;
/** IPv4 and UDP headers around a datagram, IPv6's instead. */
export const UDP_OVERHEAD_BYTES = 28;
const UDP6_OVERHEAD_BYTES = 48;

export function udpOverheadOf(to: HostAddress): number {
  return isIpv4(to) ? UDP_OVERHEAD_BYTES : UDP6_OVERHEAD_BYTES;
}

const MAGIC = 0x6150;
const VERSION = 1;
const SIGNED_BYTES = 46;
const KINDS = ["probe", "echo", "relay-probe", "relay-echo"] as const;

export type ProbeKind = (typeof KINDS)[number];

/** Stands for a host in datagrams: 16 hex digits. */
export type HostTag = string & { readonly __brand: "HostTag" };

export interface ProbeDatagram {
  /** A relayed probe goes to a host that carries it on to `target`; its echo comes back the same way. */
  readonly kind: ProbeKind;
  readonly sender: HostTag;
  /** Who asked. */
  readonly origin: HostTag;
  /** Whom the question is for. */
  readonly target: HostTag;
  /** When the sender's agent started, ms since 1970: a later one is another run. */
  readonly session: number;
  readonly sequence: number;
  readonly token: number;
  /** In relayed echoes: bytes that the relay's own link to the target carries, 0 when it did not say. */
  readonly detail: number;
  /** Of the whole datagram. */
  readonly bytes: number;
}

export type ProbeFault = "malformed" | "oversized" | "foreign";

/** 64-bit FNV-1a of the id: short and the same everywhere; that nobody can forge it is the code's task. */
export function hostTag(id: HostId): HostTag {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(id)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash.toString(16).padStart(16, "0") as HostTag;
}

/** `bytes` of the datagram below the header's size give no padding. */
export function renderProbe(datagram: ProbeDatagram, mac: Mac): Uint8Array {
  const size = Math.min(PROBE_BYTES_MAX, Math.max(PROBE_BYTES_MIN, datagram.bytes));
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, MAGIC);
  view.setUint8(2, VERSION);
  view.setUint8(3, KINDS.indexOf(datagram.kind));
  putTag(view, 4, datagram.sender);
  putTag(view, 12, datagram.origin);
  putTag(view, 20, datagram.target);
  view.setUint16(28, Math.floor(datagram.session / 2 ** 32));
  view.setUint32(30, datagram.session % 2 ** 32);
  view.setUint32(34, datagram.sequence);
  view.setUint32(38, datagram.token);
  view.setUint16(42, datagram.detail);
  view.setUint16(44, size);
  bytes.set(mac(bytes.subarray(0, SIGNED_BYTES)).subarray(0, PROBE_BYTES_MIN - SIGNED_BYTES), SIGNED_BYTES);
  return bytes;
}

/** Total over any bytes: a datagram of a member of this cluster, or what is wrong with it. */
export function parseProbe(bytes: Uint8Array, mac: Mac): ProbeDatagram | ProbeFault {
  if (bytes.length > PROBE_BYTES_MAX) return "oversized";
  if (bytes.length < PROBE_BYTES_MIN) return "malformed";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = KINDS[view.getUint8(3)];
  if (view.getUint16(0) !== MAGIC || view.getUint8(2) !== VERSION || kind === undefined) return "malformed";
  if (view.getUint16(44) !== bytes.length) return "malformed";
  if (!sameCode(mac(bytes.subarray(0, SIGNED_BYTES)), bytes)) return "foreign";
  return {
    kind,
    sender: readTag(view, 4),
    origin: readTag(view, 12),
    target: readTag(view, 20),
    session: view.getUint16(28) * 2 ** 32 + view.getUint32(30),
    sequence: view.getUint32(34),
    token: view.getUint32(38),
    detail: view.getUint16(42),
    bytes: bytes.length,
  };
}

/** Looks at every byte, so that the time it takes tells nothing. */
function sameCode(code: Uint8Array, bytes: Uint8Array): boolean {
  let difference = 0;
  for (let at = SIGNED_BYTES; at < PROBE_BYTES_MIN; at++) {
    difference |= (code[at - SIGNED_BYTES] ?? 0) ^ (bytes[at] ?? 0);
  }
  return difference === 0;
}

function putTag(view: DataView, at: number, tag: HostTag): void {
  view.setUint32(at, Number.parseInt(tag.slice(0, 8), 16));
  view.setUint32(at + 4, Number.parseInt(tag.slice(8), 16));
}

function readTag(view: DataView, at: number): HostTag {
  const half = (offset: number): string => view.getUint32(offset).toString(16).padStart(8, "0");
  return `${half(at)}${half(at + 4)}` as HostTag;
}
