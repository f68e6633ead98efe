/**
 * Leases of blocks in the store. Two blocks of different size may overlap under different keys, so a condition on the
 * block's own key would not do: every change of any lease is under the condition that no other was made since the leases
 * were read, which one counter tells. The counter is also the epoch: each lease has a larger one than all before it.
 */
import type { Host } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { BlockLease } from "../model/lease.ts";
import type { Store, StoreCondition, StoreEntry, StoreWrite } from "../platform/ports/store.ts";

export const BLOCK_PREFIX = "block/";
export const LEASE_EPOCH_KEY = "cluster/lease-epoch";

export function blockKey(cidr: string): string {
  return BLOCK_PREFIX + cidr.replace("/", "_");
}

export interface KnownLeases {
  readonly leases: readonly BlockLease[];
  readonly epoch: number;
  /** Of the counter: 0 before the first lease. */
  readonly revision: number;
}

export interface LeaseStep {
  readonly kind: "take" | "give-back";
  readonly block: string;
  readonly hostId: HostId;
}

/** @throws AppError `unavailable` when the store does not answer. */
export async function readLeases(store: Pick<Store, "get" | "list">): Promise<KnownLeases> {
  // The counter first: what changes while the rest is read makes the commit fail.
  const counter = await store.get(LEASE_EPOCH_KEY);
  const leases = (await store.list(BLOCK_PREFIX)).map(parseLease);
  const stored = (counter?.value as { readonly epoch?: number } | undefined)?.epoch ?? 0;
  return {
    leases,
    epoch: Math.max(stored, ...leases.map(({ epoch }) => epoch)),
    revision: counter?.revision ?? 0,
  };
}

/** Leases of the first release have the holder only. */
function parseLease({ key, value }: StoreEntry): BlockLease {
  const { hostId, epoch = 0, leasedAtMs = 0 } = value as Partial<BlockLease> & { readonly hostId: HostId };
  return { block: key.slice(BLOCK_PREFIX.length).replace("_", "/"), hostId, epoch, leasedAtMs };
}

/** One commit for `steps`, in their order; what it does not name stays. The holders' records are not part of it. */
export function leaseCommit(
  known: KnownLeases,
  steps: readonly LeaseStep[],
  nowMs: number,
): { readonly writes: readonly StoreWrite[]; readonly conditions: readonly StoreCondition[] } {
  let epoch = known.epoch;
  // A block that moves is given back and taken: the store takes one write a key.
  const byKey = new Map<string, StoreWrite>();
  for (const { kind, block, hostId } of steps) {
    const key = blockKey(block);
    if (kind === "give-back") byKey.set(key, { kind: "delete", key });
    else {
      epoch += 1;
      byKey.set(key, { kind: "put", key, value: { block, hostId, epoch, leasedAtMs: nowMs } satisfies BlockLease });
    }
  }
  // Written by returns, too, so that whoever has read the leases before starts over.
  byKey.set(LEASE_EPOCH_KEY, { kind: "put", key: LEASE_EPOCH_KEY, value: { epoch } });
  return { writes: [...byKey.values()], conditions: [{ key: LEASE_EPOCH_KEY, revision: known.revision }] };
}

/** The host's blocks after `steps`: what it keeps stays in its order, so that the first one, with the gateway, stays first. */
export function blocksAfter(host: Host, steps: readonly LeaseStep[]): readonly string[] {
  let blocks = host.blocks;
  for (const { kind, block, hostId } of steps) {
    if (hostId !== host.id) continue;
    blocks = blocks.filter((each) => each !== block);
    if (kind === "take") blocks = [...blocks, block];
  }
  return blocks;
}
