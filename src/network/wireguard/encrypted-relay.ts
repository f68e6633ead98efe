import type { Peer } from "../../model/host.ts";
import { gatewayOf, probeAddressOf } from "../blocks.ts";
import type { DesiredPeer } from "../plan-network.ts";
import { WIREGUARD_OVERHEAD_BYTES, WIREGUARD_PORT } from "./plan-wireguard.ts";

/**
 * The two peers of an encrypted link that a third host carries: `far` is spoken to through WireGuard at its probe address,
 * and packets to that address go the way of `relay`, who sees WireGuard's packets and nothing of what is in them. Both ends
 * have to do the same, so that the address that each sees of the other leads back the way it came.
 */
export function encryptedRelay(
  far: Peer,
  relay: DesiredPeer,
): { readonly far: DesiredPeer; readonly relay: DesiredPeer } {
  const probe = probeAddressOf(far);
  const keys = [far.publicKey, far.nextPublicKey].filter((key) => key !== undefined);
  return {
    far: {
      gateway: gatewayOf(far.blocks),
      underlay: far.address,
      blocks: far.blocks,
      mode: "wireguard",
      device: relay.device,
      mtu: relay.mtu - WIREGUARD_OVERHEAD_BYTES,
      wireguard: { keys, endpoint: `${probe}:${WIREGUARD_PORT}` },
    },
    relay: { ...relay, carries: [...(relay.carries ?? []), `${probe}/32`].toSorted() },
  };
}
