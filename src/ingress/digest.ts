/**
 * 64-bit FNV-1a of a text, as 16 hex digits. For names and for telling versions of a text apart, not against an
 * attacker: the pure rooms have no cryptography, and none is needed here.
 */
export function digest(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, "0");
}
