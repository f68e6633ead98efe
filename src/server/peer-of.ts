import type { AnnouncedKeys, Host, Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
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

/** The record with what the host says of its probe address; the same object when that changes nothing, or lies in no block of it. */
export function withProbeAddress(host: Host, said: Ipv4 | undefined): Host {
  const { probeAddress: before, ...rest } = host;
  if (said === before || (said !== undefined && !isInBlocks(said, host.blocks))) return host;
  return said === undefined ? rest : { ...rest, probeAddress: said };
}

/** The same with its keys. */
export function withKeys(host: Host, said: AnnouncedKeys): Host {
  const { publicKey, nextPublicKey } = said;
  const same = host.publicKey === publicKey && host.nextPublicKey === nextPublicKey;
  return same ? host : { ...host, publicKey, nextPublicKey };
}
