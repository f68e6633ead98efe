import type { AppSpec } from "../model/app.ts";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrContains, cidrSize, parseCidr } from "../model/ip.ts";
import { isFixedBlock } from "../model/lease.ts";
import type { ClusterState } from "./cluster-state.ts";

/**
 * Fixed addresses that could never be leased are refused when the app is declared. Once stored they are the app's: no block
 * that is leased afterwards covers them. @throws AppError `invalid` or `conflict`.
 */
export function checkFixedAddresses(
  spec: AppSpec,
  {
    state,
    claimed,
  }: {
    readonly state: Pick<ClusterState, "settings" | "apps" | "hosts">;
    /** What apps of the same request have taken; filled. */
    readonly claimed: Map<Ipv4, string>;
  },
): void {
  const { settings, apps, hosts } = state;
  const addresses = spec.addresses ?? [];
  if (addresses.length === 0) return;
  const range = parseCidr(settings.range);
  const before = new Set(apps.get(spec.id)?.spec.addresses ?? []);
  const others = new Map(claimed);
  for (const { spec: each } of apps.values()) {
    if (each.id !== spec.id) for (const address of each.addresses ?? []) others.set(address, each.id);
  }
  const blocks = [...hosts.values()].flatMap((host) =>
    host.blocks.filter((block) => !isFixedBlock(block)).map((block) => ({ cidr: parseCidr(block), block, host })),
  );
  const hint = `Choose one of ${settings.range} that no host's block covers: apollo host list shows the blocks`;
  const refuse = (code: "invalid" | "conflict", address: Ipv4, why: string): never => {
    throw new AppError(code, `Cannot give app "${spec.id}" address ${address}: ${why}`, { hint });
  };
  const ends: readonly string[] = [cidrAddress(range, 0), cidrAddress(range, cidrSize(range) - 1)];
  for (const address of addresses) {
    if (!cidrContains(range, address)) refuse("invalid", address, `it is outside of the range ${settings.range}`);
    if (ends.includes(address))
      refuse("invalid", address, "the first and the last address of the range are none to use");
    const owner = others.get(address);
    if (owner !== undefined) refuse("conflict", address, `it belongs to app "${owner}"`);
    claimed.set(address, spec.id);
    const covering = blocks.find(({ cidr }) => cidrContains(cidr, address));
    if (covering !== undefined && !before.has(address)) {
      refuse("conflict", address, `block ${covering.block} of host "${covering.host.name}" covers it`);
    }
  }
}
