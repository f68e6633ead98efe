/**
 * Which blocks change hands. A host starts with one small block; a further one follows before it runs out, each as large
 * as all it has, so that a busy host asks seldom and a quiet one strands little. A host offers a block that it has not
 * used for long and has stopped using; only then is it taken back. A fixed address is a block of one: it follows its
 * instance.
 */
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrsOverlap, parseCidr } from "../model/ip.ts";
import type { AddressUse, LeaseProblem } from "../model/lease.ts";
import { isFixedBlock } from "../model/lease.ts";
import { BLOCK_PREFIX_MAX, chooseBlock } from "./blocks.ts";

/** A burst of starts takes so many addresses before a further block can be there. */
export const FREE_MIN = 8;
const FREE_SHARE_MIN = 0.25;
/** No further block is larger, unless the cluster's blocks are. */
const GROWN_PREFIX_MIN = 24;

export interface LeaseHost {
  readonly id: HostId;
  /** In the host's order: the first holds its gateway and is never taken. */
  readonly blocks: readonly string[];
  /** What it said last; null when it is not connected. */
  readonly use: AddressUse | null;
}

export interface LeaseInput {
  readonly range: string;
  readonly blockPrefix: number;
  readonly hosts: readonly LeaseHost[];
  readonly leases: readonly { readonly block: string; readonly hostId: HostId }[];
  /** Fixed addresses that apps have declared. */
  readonly reserved: readonly Ipv4[];
  /** Where the instance with a fixed address is. */
  readonly fixed: ReadonlyMap<Ipv4, HostId>;
  /** A host needs no block before somebody there does, and its first one is like any other. Missing is false. */
  readonly onDemand?: boolean;
}

export interface PlannedLease {
  readonly kind: "take" | "give-back";
  readonly block: string;
  readonly hostId: HostId;
}

export interface LeasePlan {
  /** In the order to apply them, all at once. */
  readonly steps: readonly PlannedLease[];
  /** Hosts that need a block and get none. */
  readonly problems: ReadonlyMap<HostId, LeaseProblem>;
}

/** Free addresses below which a host gets a further block. */
export function freeWanted(total: number): number {
  return Math.max(FREE_MIN, Math.ceil(total * FREE_SHARE_MIN));
}

/** The changes that bring leases in step with members, instances and need; a second plan after them has none. */
export function planLeases(input: LeaseInput): LeasePlan {
  const steps: PlannedLease[] = [];
  const problems = new Map<HostId, LeaseProblem>();
  const holders = new Map(input.leases.map(({ block, hostId }) => [block, hostId]));
  // What a record names without a lease is as good as leased.
  for (const { id, blocks } of input.hosts) for (const block of blocks) if (!holders.has(block)) holders.set(block, id);
  const hosts = input.hosts.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const giveBack = (block: string, hostId: HostId): void => {
    holders.delete(block);
    steps.push({ kind: "give-back", block, hostId });
  };
  const take = (block: string, hostId: HostId): void => {
    holders.set(block, hostId);
    steps.push({ kind: "take", block, hostId });
  };
  for (const { block, hostId } of findReturns(input, holders)) giveBack(block, hostId);
  planFixed(input, holders, { take, problems });
  for (const host of hosts) {
    if (!isShort(host, input.onDemand ?? false)) continue;
    const choice = chooseFurther(input, host, [...holders.keys()]);
    if (choice.kind === "block") take(choice.block, host.id);
    else problems.set(host.id, { text: choice.message, hint: choice.hint });
  }
  return { steps, problems };
}

function findReturns(
  { hosts, fixed, onDemand = false }: LeaseInput,
  holders: ReadonlyMap<string, HostId>,
): readonly { readonly block: string; readonly hostId: HostId }[] {
  const members = new Map(hosts.map((host) => [host.id, host]));
  return [...holders]
    .filter(([block, hostId]) => {
      const host = members.get(hostId);
      if (host === undefined) return true;
      if (isFixedBlock(block)) return fixed.get(addressOf(block)) !== hostId;
      if (block === host.blocks[0] && !onDemand) return false;
      return host.use?.offered.includes(block) === true && isCurrent(host);
    })
    .map(([block, hostId]) => ({ block, hostId }))
    .toSorted((a, b) => (a.block < b.block ? -1 : 1));
}

function planFixed(
  { fixed, hosts }: LeaseInput,
  holders: ReadonlyMap<string, HostId>,
  out: { readonly take: (block: string, hostId: HostId) => void; readonly problems: Map<HostId, LeaseProblem> },
): void {
  const members = new Set(hosts.map(({ id }) => id));
  for (const [address, hostId] of [...fixed].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const block = `${address}/32`;
    if (holders.get(block) === hostId || !members.has(hostId)) continue;
    const other = [...holders].find(([each]) => cidrsOverlap(parseCidr(each), parseCidr(block)));
    if (other === undefined) out.take(block, hostId);
    else
      out.problems.set(hostId, {
        text: `Cannot lease fixed address ${address}: it lies in block ${other[0]} of a host`,
        hint: "Give the app an address that no block covers: apollo host list shows the blocks",
      });
  }
}

/** A report about other blocks than it holds now is older than the last lease. */
function isCurrent({ blocks, use }: LeaseHost): boolean {
  return use !== null && use.blocks.join() === blocks.join();
}

function isShort(host: LeaseHost, onDemand: boolean): boolean {
  const { use } = host;
  if (use === null || !isCurrent(host)) return false;
  // An offered block counts no more: what is given back is not asked for again in the same breath.
  if (use.waiting > 0) return true;
  return use.free < freeWanted(use.total) && (!onDemand || (use.total > 0 && use.free < use.total));
}

/** As large as all that the host has, smaller when there is no such block. */
function chooseFurther(
  { range, blockPrefix, reserved }: LeaseInput,
  { use }: LeaseHost,
  taken: readonly string[],
): ReturnType<typeof chooseBlock> {
  const wanted = Math.max(use?.total ?? 0, use?.waiting ?? 0, 1);
  const grown = 32 - Math.ceil(Math.log2(wanted));
  const first = Math.max(parseCidr(range).prefix, Math.min(blockPrefix, Math.max(GROWN_PREFIX_MIN, grown)));
  const avoid = reserved.map((address) => `${address}/32`);
  let choice: ReturnType<typeof chooseBlock> | null = null;
  for (let prefix = first; prefix <= BLOCK_PREFIX_MAX; prefix++) {
    choice = chooseBlock({ range, blockPrefix: prefix, taken, avoid });
    if (choice.kind === "block") return choice;
  }
  return {
    kind: "problem",
    message: `Cannot lease a further block: no address of ${range} is left`,
    hint: "Remove hosts that are gone with: apollo host remove NAME",
  };
}

function addressOf(block: string): Ipv4 {
  return block.slice(0, block.indexOf("/")) as Ipv4;
}
