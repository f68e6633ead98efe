import type { Ipv4 } from "../model/ip.ts";

/** This host's address book, as those see it who take addresses out of it. An owner is a text such as `attach:db@apollo`. */
export interface AddressSource {
  /**
   * The same owner gets the same address until it lets go. @throws AppError `conflict` when somebody else has `wanted`,
   * `invalid` when it is no address that this host may give, `unavailable` when none is free.
   * @param network the default one unless given
   */
  take(owner: string, wanted?: Ipv4, network?: string): Promise<Ipv4>;
  /** An owner that holds none is fine. */
  release(owner: string): Promise<void>;
  /** What owners hold. */
  owners(): ReadonlyMap<string, Ipv4>;
}
