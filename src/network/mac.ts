import type { Ipv4 } from "../model/ip.ts";

/** Locally administered, unicast, and rare: tells our tunnel devices apart in a neighbour table. */
const MAC_START = "0a:70";

/**
 * MAC of a host's tunnel device. It follows from the gateway address, so that peers know it without being told and
 * a recreated device needs no change on any other host.
 */
export function tunnelMac(gateway: Ipv4): string {
  const bytes = gateway.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return `${MAC_START}:${bytes.join(":")}`;
}
