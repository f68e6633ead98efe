/** Addresses in the forms that DNS has them in: bytes of records, hexadecimal labels, reverse names. */
import { isIpv4 } from "../../model/ip.ts";

const IPV6_GROUPS = 8;

/** 4 bytes of an IPv4, 16 of an IPv6 address; null for a text that is neither, such as a host name. */
export function addressBytes(text: string): Uint8Array | null {
  if (isIpv4(text)) return Uint8Array.from(text.split("."), Number);
  if (!text.includes(":")) return null;
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head, tail] = halves.map(groupsOf);
  if (head === undefined || head === null || tail === null) return null;
  const missing = IPV6_GROUPS - head.length - (tail?.length ?? 0);
  // "::" stands for one group of zeros at least (RFC 4291 §2.2).
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...Array.from({ length: missing }, () => 0), ...(tail ?? [])];
  return Uint8Array.from(groups.flatMap((group) => [group >>> 8, group & 255]));
}

/** One text for each address, however it was written: what indexes are keyed by. Other texts come back as they are. */
export function addressKey(text: string): string {
  if (!text.includes(":")) return text;
  const bytes = addressBytes(text);
  return bytes === null ? text : addressHex(bytes);
}

/** "0a020107", or 32 digits. */
export function addressHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The address of 8 or 32 hexadecimal digits, else null. */
export function parseHexAddress(hex: string): Uint8Array | null {
  if (!/^([0-9a-f]{8}|[0-9a-f]{32})$/.test(hex)) return null;
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** For people: "10.2.1.7", "2001:db8:0:0:0:0:0:1". */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from(
    { length: IPV6_GROUPS },
    (_, index) => (bytes[2 * index] ?? 0) * 256 + (bytes[2 * index + 1] ?? 0),
  );
  return groups.map((group) => group.toString(16)).join(":");
}

/** The address that a name under in-addr.arpa or ip6.arpa asks about; null for another or an incomplete name. */
export function parseReverseAddress(labels: readonly string[]): Uint8Array | null {
  if (labels.at(-1) !== "arpa") return null;
  const parts = labels.slice(0, -2).toReversed();
  if (labels.at(-2) === "in-addr") return parts.length === 4 ? addressBytes(parts.join(".")) : null;
  if (labels.at(-2) !== "ip6" || !parts.every((part) => /^[0-9a-f]$/.test(part))) return null;
  return parts.length === 32 ? parseHexAddress(parts.join("")) : null;
}

/** The 16-bit groups of one side of "::"; the last may be written as an IPv4 address. */
function groupsOf(side: string): readonly number[] | null {
  if (side === "") return [];
  const groups: number[] = [];
  const words = side.split(":");
  for (const [index, word] of words.entries()) {
    if (index === words.length - 1 && isIpv4(word)) {
      const [a = 0, b = 0, c = 0, d = 0] = word.split(".").map(Number);
      groups.push(a * 256 + b, c * 256 + d);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(word)) groups.push(Number.parseInt(word, 16));
    else return null;
  }
  return groups;
}
