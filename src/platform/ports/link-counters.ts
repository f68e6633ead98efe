import type { HostAddress } from "../../model/ip6.ts";

/** What our rules in the kernel counted of each set's elements, in bytes. */
export interface LinkCounters {
  /** By element, of all the sets together; those that are not there have none. @throws AppError `unavailable`. */
  bytes(sets: readonly string[]): Promise<ReadonlyMap<HostAddress, number>>;
}
