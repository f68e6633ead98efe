/** Readers of what `ip -6 -j` prints; addresses come in the form of RFC 5952. */
import { z } from "zod";
import { isIpv6 } from "../../model/ip6.ts";
import type { Ipv6 } from "../../model/ip6.ts";
import type { NetworkAddress6, NetworkNeighbour6, NetworkRoute6 } from "../ports/host-network.ts";
import { ROUTE_PROTOCOL, firstMtu, hasFields, metrics, read } from "./parse-ip-output.ts";

const ipv6 = z.custom<Ipv6>((value) => typeof value === "string" && isIpv6(value));
const linkShape = z.object({
  ifname: z.string(),
  addr_info: z.array(z.object({ family: z.string(), local: z.string(), prefixlen: z.number() }).partial()).default([]),
});
const routeShape = z.object({
  type: z.string().optional(),
  dst: z.string(),
  gateway: ipv6.optional(),
  dev: z.string().optional(),
  protocol: z.string().optional(),
  prefsrc: ipv6.optional(),
  flags: z.array(z.string()).default([]),
  metrics,
});
const neighbourShape = z.object({ dst: z.string(), dev: z.string(), lladdr: z.string().optional() });

export function parseAddresses6(entries: readonly unknown[]): readonly NetworkAddress6[] {
  return entries.filter(hasFields).flatMap((entry) => {
    const link = read(linkShape, entry, "link");
    return link.addr_info.flatMap(({ local, prefixlen: prefix }) =>
      local !== undefined && isIpv6(local) && prefix !== undefined
        ? [{ device: link.ifname, address: local, prefix }]
        : [],
    );
  });
}

/** Unicast routes over one device. */
export function parseRoutes6(entries: readonly unknown[]): readonly NetworkRoute6[] {
  return entries.filter(hasFields).flatMap((entry) => {
    const route = read(routeShape, entry, "route");
    if ((route.type ?? "unicast") !== "unicast" || route.dev === undefined) return [];
    return [
      {
        destination: fullCidr6(route.dst),
        via: route.gateway ?? null,
        device: route.dev,
        source: route.prefsrc ?? null,
        mtu: firstMtu(route.metrics),
        onlink: route.flags.includes("onlink"),
        marked: route.protocol === ROUTE_PROTOCOL,
      },
    ];
  });
}

/** Devices with a default route that a router announced. */
export function parseAnnounced(entries: readonly unknown[]): readonly string[] {
  const devices = entries.filter(hasFields).flatMap((entry) => {
    const { dst, dev, protocol } = read(routeShape, entry, "route");
    return dst === "default" && protocol === "ra" && dev !== undefined ? [dev] : [];
  });
  return [...new Set(devices)].toSorted();
}

export function parseNeighbours6(entries: readonly unknown[]): readonly NetworkNeighbour6[] {
  return entries.filter(hasFields).flatMap((entry) => {
    const { dst, dev, lladdr } = read(neighbourShape, entry, "neighbour");
    return isIpv6(dst) && lladdr !== undefined ? [{ device: dev, address: dst, mac: lladdr }] : [];
  });
}

function fullCidr6(destination: string): string {
  if (destination === "default") return "::/0";
  return destination.includes("/") ? destination : `${destination}/128`;
}
