import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrContains, cidrSize, parseCidr } from "../model/ip.ts";

/**
 * The address for a service's life. It follows from the name as long as nobody else has it, so a service that is removed
 * and declared again is mostly found where it was, also by clients that remember.
 * @param wanted what the user asked for, or what the service has
 * @throws AppError `invalid` for one outside the range, `conflict` for one that is taken or when none is free
 */
export function chooseVirtualAddress(want: {
  readonly name: string;
  readonly range: string;
  readonly taken: ReadonlyMap<Ipv4, string>;
  readonly wanted: Ipv4 | null;
}): Ipv4 {
  const range = parseCidr(want.range);
  // The first and the last address are no host's on any network, and some clients refuse to connect to such.
  const count = cidrSize(range) - 2;
  if (want.wanted !== null) return checkWanted(want.name, want.wanted, want);
  const start = hashOf(want.name);
  for (let step = 0; step < count; step++) {
    const address = cidrAddress(range, 1 + ((start + step) % count));
    if (!want.taken.has(address)) return address;
  }
  throw new AppError(
    "conflict",
    `Cannot give "${want.name}" an address: all ${Math.max(count, 0)} of ${want.range} are taken`,
    {
      hint: "Remove those that nobody uses: apollo service outside",
    },
  );
}

function checkWanted(
  name: string,
  address: Ipv4,
  { range: text, taken }: { readonly range: string; readonly taken: ReadonlyMap<Ipv4, string> },
): Ipv4 {
  const range = parseCidr(text);
  const last = cidrAddress(range, cidrSize(range) - 1);
  if (!cidrContains(range, address) || address === cidrAddress(range, 0) || address === last) {
    throw new AppError("invalid", `Cannot give "${name}" the address ${address}: it is not one of ${text}`, {
      hint: "Leave the address out to get a free one",
    });
  }
  const holder = taken.get(address);
  if (holder === undefined) return address;
  throw new AppError("conflict", `Cannot give "${name}" the address ${address}: "${holder}" has it`, {
    hint: "Leave the address out to get a free one",
  });
}

/** 32-bit FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
