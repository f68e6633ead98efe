/**
 * Blocks of declared networks. Every host has each network's gateway address, so no block is special: a host gets its first
 * one when somebody there wants an address, and gives the last one back when nobody has any more. Otherwise as `planLeases`.
 */
import type { HostId } from "../model/ids.ts";
import { parseCidr } from "../model/ip.ts";
import type { AddressUse, LeaseProblem, NetworkBlocks } from "../model/lease.ts";
import type { ContainerNetwork } from "../model/network-config.ts";
import { BLOCK_PREFIX_MAX } from "./blocks.ts";
import type { PlannedLease } from "./plan-leases.ts";
import { planLeases } from "./plan-leases.ts";

export interface DeclaredLeaseHost {
  readonly id: HostId;
  /** By network. */
  readonly networks: NetworkBlocks;
  /** What it said last, by network; null when it is not connected. */
  readonly uses: Readonly<Record<string, AddressUse>> | null;
}

export interface DeclaredLease extends PlannedLease {
  readonly network: string;
}

export interface DeclaredLeasePlan {
  readonly steps: readonly DeclaredLease[];
  /** By host and network: who needs a block and gets none. */
  readonly problems: ReadonlyMap<HostId, Readonly<Record<string, LeaseProblem>>>;
}

/** Sixteen hosts at least have room, and a small network is not cut into crumbs. */
const PARTS_BITS = 4;
const BLOCK_PREFIX_MIN = 24;

/** Prefix length of a host's first block, unless the network says it. */
export function declaredBlockPrefix({ range, blockPrefix }: Pick<ContainerNetwork, "range" | "blockPrefix">): number {
  const { prefix } = parseCidr(range);
  return blockPrefix ?? Math.min(BLOCK_PREFIX_MAX, Math.max(BLOCK_PREFIX_MIN, prefix + PARTS_BITS));
}

/** A second plan after the steps of the first has none. */
export function planDeclaredLeases(
  networks: readonly ContainerNetwork[],
  hosts: readonly DeclaredLeaseHost[],
): DeclaredLeasePlan {
  const steps: DeclaredLease[] = [];
  const problems = new Map<HostId, Record<string, LeaseProblem>>();
  const declared = new Set(networks.map(({ name }) => name));
  for (const { id, networks: held } of hosts) {
    for (const [network, blocks] of Object.entries(held)) {
      if (declared.has(network)) continue;
      for (const block of blocks) steps.push({ kind: "give-back", block, hostId: id, network });
    }
  }
  for (const network of networks.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const { name, range } = network;
    const plan = planLeases({
      range,
      blockPrefix: declaredBlockPrefix(network),
      hosts: hosts.map(({ id, networks: held, uses }) => ({ id, blocks: held[name] ?? [], use: uses?.[name] ?? null })),
      leases: [],
      reserved: [],
      fixed: new Map(),
      onDemand: true,
    });
    for (const step of plan.steps) steps.push({ ...step, network: name });
    for (const [id, problem] of plan.problems) {
      const text = problem.text.replace("Cannot lease a further block", `Cannot lease a block of network "${name}"`);
      problems.set(id, { ...problems.get(id), [name]: { ...problem, text } });
    }
  }
  return { steps, problems };
}

/** A host's blocks after `steps`; a network without any is left out. */
export function networksAfter(id: HostId, before: NetworkBlocks, steps: readonly DeclaredLease[]): NetworkBlocks {
  const after = new Map(Object.entries(before));
  for (const { kind, block, hostId, network } of steps) {
    if (hostId !== id) continue;
    const others = (after.get(network) ?? []).filter((each) => each !== block);
    after.set(network, kind === "take" ? [...others, block] : others);
  }
  return Object.fromEntries(
    [...after].filter(([, blocks]) => blocks.length > 0).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}
