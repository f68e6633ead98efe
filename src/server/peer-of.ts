import type { AnnouncedKeys, Host, Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { isInBlocks } from "../network/choose-address.ts";

/** All members but one, by name: what that one is told. */
export function peersOf(hosts: ReadonlyMap<HostId, Host>, hostId: HostId): readonly Peer[] {
  return [...hosts.values()]
    .filter((host) => host.id !== hostId)
    .map(peerOf)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What other hosts are told of a member. */
export function peerOf({ id, name, address, blocks, networks, probeAddress, ...host }: Host): Peer {
  return {
    id,
    name,
    address,
    blocks,
    ...keysOf(host),
    ...(networks === undefined ? {} : { networks }),
    // Of a block that was taken back it may be another host's by now.
    ...(probeAddress === undefined || !isInBlocks(probeAddress, blocks) ? {} : { probeAddress }),
  };
}

/** The keys alone, where there are any: a field that is there and undefined is another record. */
export function keysOf(said: Pick<Host, "publicKey" | "nextPublicKey">): Partial<AnnouncedKeys> {
  const { publicKey, nextPublicKey } = said;
  return {
    ...(publicKey === undefined ? {} : { publicKey }),
    ...(nextPublicKey === undefined ? {} : { nextPublicKey }),
  };
}
