/**
 * 64-bit digest of a text, as 16 hex digits: two 32-bit multiplicative hashes with different constants, mixed at the end
 * (the finish of MurmurHash3). For names and for telling versions of a text apart, not against an attacker: the pure rooms
 * have no cryptography, and none is needed here. BigInt arithmetic (FNV-1a) was ten times slower on 10,000 endpoints.
 */
export function digest(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x5bd1e995);
    b ^= b >>> 15;
  }
  return hex(mix(a ^ (b >>> 16))) + hex(mix(b ^ (a >>> 16)));
}

function mix(value: number): number {
  let x = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
