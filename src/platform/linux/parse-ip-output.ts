/** Readers of what iproute2, nftables and iptables print; fields that we do not use are not looked at. */
import { z } from "zod";
import { AppError } from "../../model/error.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { isIpv6 } from "../../model/ip6.ts";
import type { HostAddress, Ipv6 } from "../../model/ip6.ts";
import { NO_ADDRESS } from "../ports/host-network.ts";
import type { BridgePort, FarPort } from "../ports/bridge-ports.ts";
import type { NetworkLink, NetworkRoute, TunnelPeer } from "../ports/host-network.ts";

/** Our routes carry this protocol number; 201 is in the range that /etc/iproute2/rt_protos leaves to administrators. */
export const ROUTE_PROTOCOL = "201";

const KINDS = ["bridge", "vxlan", "wireguard", "tun"] as const;
const ipv6 = z.custom<Ipv6>((value) => typeof value === "string" && isIpv6(value));
const hostAddress = z.custom<HostAddress>((value) => typeof value === "string" && (isIpv4(value) || isIpv6(value)));
const ipv4 = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value));
const linkShape = z.object({
  ifindex: z.number(),
  ifname: z.string(),
  flags: z.array(z.string()),
  mtu: z.number(),
  address: z.string().default(""),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z.object({ id: z.number(), local: ipv4, local6: ipv6, port: z.number() }).partial().optional(),
    })
    .optional(),
  addr_info: z.array(z.object({ family: z.string(), local: z.string(), prefixlen: z.number() }).partial()).default([]),
});
export const metrics = z.array(z.object({ mtu: z.number() }).partial()).optional();
const routeShape = z.object({
  type: z.string().optional(),
  dst: z.string(),
  gateway: hostAddress.optional(),
  /** A next hop of the other family. */
  via: z.object({ host: ipv6 }).optional(),
  dev: z.string().optional(),
  protocol: z.string().optional(),
  prefsrc: hostAddress.optional(),
  flags: z.array(z.string()).default([]),
  metrics,
});
const neighbourShape = z.object({ dst: z.string(), dev: z.string(), lladdr: z.string().optional() });
const forwardingShape = z.object({ mac: z.string(), dst: hostAddress.optional() });

/** One JSON array per command of an `ip -j -batch`, each on its own line. Commands that failed have none. */
export function parseBatchOutput(stdout: string): unknown[][] {
  return stdout
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const value: unknown = JSON.parse(line);
      return Array.isArray(value) ? value : [value];
    });
}

export function parseLinks(entries: readonly unknown[]): readonly NetworkLink[] {
  return entries.filter(hasFields).map((entry) => {
    const link = read(linkShape, entry, "link");
    const kind = link.linkinfo?.info_kind;
    const data = link.linkinfo?.info_data;
    return {
      name: link.ifname,
      index: link.ifindex,
      kind: KINDS.find((known) => known === kind) ?? "other",
      up: link.flags.includes("UP"),
      mtu: link.mtu,
      mac: link.address,
      addresses: link.addr_info.flatMap(({ local, prefixlen }) =>
        local !== undefined && isIpv4(local) && prefixlen !== undefined ? [{ address: local, prefix: prefixlen }] : [],
      ),
      vxlan:
        kind === "vxlan"
          ? { vni: data?.id ?? 0, local: data?.local ?? data?.local6 ?? null, port: data?.port ?? 0 }
          : null,
    };
  });
}

/** Unicast routes over one device; blackholes and multipath routes of others are none that we could clash with. */
export function parseRoutes(entries: readonly unknown[]): readonly NetworkRoute[] {
  return entries.filter(hasFields).flatMap((entry) => {
    const route = read(routeShape, entry, "route");
    if ((route.type ?? "unicast") !== "unicast" || route.dev === undefined) return [];
    return [
      {
        destination: fullCidr(route.dst),
        via: route.gateway ?? route.via?.host ?? null,
        device: route.dev,
        source: route.prefsrc !== undefined && isIpv4(route.prefsrc) ? route.prefsrc : null,
        mtu: firstMtu(route.metrics),
        onlink: route.flags.includes("onlink"),
        marked: route.protocol === ROUTE_PROTOCOL,
      },
    ];
  });
}

/** An answer of `ip route get`. Null for one that leads nowhere. */
export function parsePath(
  entry: unknown,
): { address: string; device: string; via: HostAddress | null; source: HostAddress; mtu: number | null } | null {
  const route = read(routeShape, entry, "route");
  const usable = (route.type ?? "unicast") === "unicast" || route.type === "local";
  if (!usable || route.dev === undefined || route.prefsrc === undefined) return null;
  return {
    address: route.dst,
    device: route.dev,
    via: route.gateway ?? null,
    source: route.prefsrc,
    mtu: firstMtu(route.metrics),
  };
}

/** Permanent neighbours of the tunnel device joined with its forwarding entries, by MAC; halves show as such. */
export function parseTunnelPeers(
  neighbours: readonly unknown[],
  forwarding: readonly unknown[],
  device: string,
): readonly TunnelPeer[] {
  const underlays = new Map<string, HostAddress>();
  for (const entry of forwarding.filter(hasFields)) {
    const { mac, dst } = read(forwardingShape, entry, "forwarding entry");
    if (dst !== undefined) underlays.set(mac, dst);
  }
  const peers: TunnelPeer[] = [];
  for (const entry of neighbours.filter(hasFields)) {
    const { dst, dev, lladdr } = read(neighbourShape, entry, "neighbour");
    if (dev !== device || lladdr === undefined || !isIpv4(dst)) continue;
    peers.push({ gateway: dst, mac: lladdr, underlay: underlays.get(lladdr) ?? NO_ADDRESS });
    underlays.delete(lladdr);
  }
  for (const [mac, underlay] of underlays) peers.push({ gateway: NO_ADDRESS, mac, underlay });
  return peers;
}

/**
 * The digest that every rule of our tables carries in its comment ("apollo DIGEST NUMBER/COUNT"), or "altered" when
 * rules are missing, foreign or of different digests.
 */
export function parseRulesetDigest(tables: readonly string[]): string {
  const comments = tables.flatMap(readRuleComments);
  const marks = comments.map((comment) => /^apollo ([0-9a-f]+) \d+\/(\d+)$/.exec(comment ?? ""));
  const first = marks[0];
  const digest = first?.[1];
  const whole = marks.length === Number(first?.[2]) && marks.every((mark) => mark?.[1] === digest);
  return digest !== undefined && whole && new Set(comments).size === comments.length ? digest : "altered";
}

const rulesetShape = z.object({
  nftables: z.array(z.object({ rule: z.object({ comment: z.string() }).partial() }).partial()),
});

function readRuleComments(stdout: string): (string | undefined)[] {
  const { nftables } = read(rulesetShape, JSON.parse(stdout), "nftables table");
  return nftables.flatMap(({ rule }) => (rule === undefined ? [] : [rule.comment]));
}

const bridgePortShape = z.object({ ifindex: z.number(), ifname: z.string(), link_index: z.number().optional() });
const farPortShape = bridgePortShape.extend({ address: z.string() });

/** Ports whose other end lies in another namespace: `ip` names ends in the same one by name, without an index. */
export function parseBridgePorts(entries: readonly unknown[]): readonly BridgePort[] {
  return entries.filter(hasFields).flatMap((entry) => {
    const { ifindex, ifname, link_index: farIndex } = read(bridgePortShape, entry, "bridge port");
    return farIndex === undefined ? [] : [{ device: ifname, index: ifindex, farIndex }];
  });
}

/** The same list, read inside a container. */
export function parseFarPorts(entries: readonly unknown[]): readonly FarPort[] {
  return entries.filter(hasFields).flatMap((entry) => {
    const { ifindex: index, link_index: nearIndex, address: mac } = read(farPortShape, entry, "interface");
    return nearIndex === undefined ? [] : [{ index, nearIndex, mac }];
  });
}

/** The first column of /proc/PID/net/igmp: the index of each interface that is up, the loopback's too. */
export function parseInterfaceIndexes(text: string): readonly number[] {
  return text.split("\n").flatMap((line) => {
    const index = /^(\d+)\t/.exec(line)?.[1];
    return index === undefined ? [] : [Number(index)];
  });
}

/** `ip` prints {} for entries that its own filter left out. */
export function hasFields(entry: unknown): boolean {
  return typeof entry === "object" && entry !== null && Object.keys(entry).length > 0;
}

function fullCidr(destination: string): string {
  if (destination === "default") return "0.0.0.0/0";
  return destination.includes("/") ? destination : `${destination}/32`;
}

export function firstMtu(list: z.infer<typeof metrics>): number | null {
  return list?.find(({ mtu }) => mtu !== undefined)?.mtu ?? null;
}

export function read<T>(shape: z.ZodType<T>, value: unknown, what: string): T {
  const result = shape.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new AppError("internal", `Cannot read ${what}: ${issue?.path.join(".")}: ${issue?.message}`, {
    hint: "Report this with the versions of iproute2 and nftables",
  });
}

const addressedShape = z.array(
  z.object({ ifname: z.string(), addr_info: z.array(z.object({ local: z.string().optional() })).default([]) }),
);

/** By device, of both families, in `ip -j address show`. */
export function readAddresses(entries: readonly unknown[]): ReadonlyMap<string, readonly HostAddress[]> {
  const devices = entries.flatMap((entry) => addressedShape.safeParse([entry]).data ?? []);
  return new Map(
    devices.map(({ ifname, addr_info }) => [
      ifname,
      addr_info.flatMap(({ local }) => (local !== undefined && (isIpv4(local) || isIpv6(local)) ? [local] : [])),
    ]),
  );
}
