import type { HostId } from "./ids.ts";

/** The stored record of a block that a host holds. */
export interface BlockLease {
  /** CIDR text. A /32 is a fixed address that follows its instance from host to host. */
  readonly block: string;
  readonly hostId: HostId;
  /** Larger than that of every lease made before, of whatever block: tells an old holder from a new one. */
  readonly epoch: number;
  /** 0 for leases from before this was kept. */
  readonly leasedAtMs: number;
}

/** What a host says of its addresses, with each heartbeat. */
export interface AddressUse {
  /** The blocks that it counts, in its order: a report about others is out of date. */
  readonly blocks: readonly string[];
  /** Addresses that it can give out, used or not; fixed ones do not count. */
  readonly total: number;
  readonly free: number;
  /** Takers that wait for an address. */
  readonly waiting: number;
  /** Blocks that it has stopped using, for the server to take back. */
  readonly offered: readonly string[];
}

/** Blocks of declared networks that a host holds, by network. */
export type NetworkBlocks = Readonly<Record<string, readonly string[]>>;

/** Why a host gets no further block. */
export interface LeaseProblem {
  readonly text: string;
  readonly hint: string;
}

/** A lease of one address, for an app's fixed addresses. */
export function isFixedBlock(block: string): boolean {
  return block.endsWith("/32");
}
