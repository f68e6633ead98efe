import type { Ipv4 } from "../model/ip.ts";

/** Who holds which of this host's addresses. An owner is a text such as `attach:container:db`. */
export interface AddressBook {
  /**
   * The same owner gets the same address until it lets go. @throws AppError `conflict` when somebody else has `wanted`,
   * `invalid` when it is no address that this host may give, `unavailable` when none is free.
   */
  take(owner: string, wanted?: Ipv4): Promise<Ipv4>;
  /** Holds nothing is fine. */
  release(owner: string): Promise<void>;
  /** What is held, by owner. */
  held(): ReadonlyMap<string, Ipv4>;
}
