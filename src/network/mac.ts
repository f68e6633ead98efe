import type { Ipv4 } from "../model/ip.ts";

/** Locally administered, unicast, and rare: tell our devices apart in a neighbour table. */
const TUNNEL_START = "0a:70";
const BRIDGE_START = "0a:71";

/**
 * MAC of a host's tunnel device. It follows from the gateway address, so that peers know it without being told and
 * a recreated device needs no change on any other host.
 */
export function tunnelMac(gateway: Ipv4): string {
  return macOf(TUNNEL_START, gateway);
}

/**
 * MAC of a host's bridge. A bridge that was not given one takes the lowest of its ports', which changes as containers come
 * and go, while containers remember it as that of every address beyond the bridge: their answers to other hosts then go
 * nowhere for up to a minute. Docker gives bridges that it makes itself one for the same reason.
 */
export function bridgeMac(gateway: Ipv4): string {
  return macOf(BRIDGE_START, gateway);
}

function macOf(start: string, gateway: Ipv4): string {
  const bytes = gateway.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return `${start}:${bytes.join(":")}`;
}
