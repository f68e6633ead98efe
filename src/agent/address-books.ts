import type { Ipv4 } from "../model/ip.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import type { AddressSource } from "../network/address-source.ts";
import type { AddressBook } from "./address-book.ts";
import type { NetworkBook } from "./network-book.ts";

/** Of the default network's book and of that of declared ones, in the agent's data directory. */
export const ADDRESS_FILES = ["addresses.json", "network-addresses.json"] as const;

/** The books of the default network and of declared ones as one source: owners are unique over all networks. */
export function joinBooks(book: AddressSource | AddressBook, networks: NetworkBook): AddressSource {
  return {
    take: (owner: string, wanted?: Ipv4, network = DEFAULT_NETWORK) =>
      network === DEFAULT_NETWORK ? book.take(owner, wanted) : networks.take(network, owner, wanted),
    release: async (owner) => {
      await book.release(owner);
      await networks.release(owner);
    },
    owners: () => new Map([...book.owners(), ...networks.owners()]),
  };
}
