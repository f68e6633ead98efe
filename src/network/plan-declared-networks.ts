/**
 * What the kernel of a host needs for declared networks, and the changes that get it there.
 *
 * Routed: a bridge with the network's gateway addresses, the same on every host, on each host from the declaration on. Routes to the
 * blocks of others are the links' business (`planNetwork`), and who may pass is the ruleset's (`renderDeclaredNetworks`).
 *
 * Layer 2: a bridge on which the host has no address, with a VXLAN port that learns. Its packets go from gateway address to
 * gateway address of the default network, so they take whatever way the link between two hosts has: direct, tunnelled, encrypted or
 * through a third host. What is flooded is sent to each host that holds a block of the network, one by one.
 */
import type { Ipv4 } from "../model/ip.ts";
import { parseCidr } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import type { SegmentAction, SegmentBridge, SegmentState, SegmentTunnel } from "../platform/ports/segment-network.ts";
import { checkRangeClash } from "./blocks.ts";
import { VXLAN_OVERHEAD_BYTES } from "./choose-link-mode.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { isSegmentDevice } from "../platform/ports/segment-network.ts";
import { bridgeOf, declaredGateway, tunnelOf } from "./declared-network.ts";
import { bridgeMac } from "./mac.ts";
import { BRIDGE, TUNNEL, TUNNEL_PORT } from "./plan-network.ts";
import { WIREGUARD, WIREGUARD_OVERHEAD_BYTES } from "./wireguard/plan-wireguard.ts";
import { declaredWire6 } from "./wire6.ts";
import { HOST6_PREFIX } from "./address6.ts";
import { MTU6_MIN } from "./plan-network6.ts";

/** Without one the host finds no neighbours. The same on all bridges: it says nothing beyond its wire. */
const LINK_LOCAL = { address: parseIpv6("fe80::1"), prefix: 64 };

export interface DesiredSegments {
  /** This host's gateway address in the default network. */
  readonly local: Ipv4;
  /** Of containers' IPv6 addresses; null or missing while this host has none to give. */
  readonly range6?: string | null;
  readonly networks: readonly (DeclaredNetwork & {
    /** Gateway addresses of the other hosts that hold a block of it. */
    readonly hosts: readonly Ipv4[];
  })[];
}

export interface SegmentPlan {
  readonly actions: readonly SegmentAction[];
  /** Networks that containers can use. */
  readonly ready: readonly DeclaredNetwork[];
  readonly conditions: readonly Condition[];
}

export function planDeclaredNetworks(desired: DesiredSegments, observed: SegmentState): SegmentPlan {
  const bridges = new Map(observed.bridges.map((bridge) => [bridge.name, bridge]));
  const tunnels = new Map(observed.tunnels.map((tunnel) => [tunnel.name, tunnel]));
  const foreign = observed.routes
    .filter(({ device }) => ![BRIDGE, TUNNEL, WIREGUARD].includes(device) && !isSegmentDevice(device))
    .map(({ destination }) => destination);
  const actions: SegmentAction[] = [];
  const ready: DeclaredNetwork[] = [];
  const conditions: Condition[] = [];
  const wanted = new Set<string>();
  for (const network of desired.networks.toSorted((a, b) => a.vni - b.vni)) {
    const name = bridgeOf(network.vni);
    const bridge = bridges.get(name);
    const clash = network.layer2 || bridge !== undefined ? null : checkRangeClash(network.range, foreign);
    if (clash !== null) {
      conditions.push(clashCondition(network.name, clash));
      continue;
    }
    wanted.add(name);
    const range6 =
      (network.layer2 ? segmentMtu(observed) : observed.uplinkMtu) < MTU6_MIN ? null : (desired.range6 ?? null);
    const steps = network.layer2
      ? planLayer2(network, { desired, observed, bridge })
      : planRouted(network, bridge, observed.uplinkMtu);
    const fresh = bridge === undefined || steps.some(({ kind }) => kind === "delete-device");
    if (!network.layer2 && range6 !== null) steps.push(...planRouted6(network, range6, fresh ? undefined : bridge));
    actions.push(...steps);
    if (network.layer2) {
      const tunnel = tunnelOf(network.vni);
      wanted.add(tunnel);
      actions.push(...planTunnel(network, { desired, observed, tunnel: tunnels.get(tunnel) }));
    }
    if (bridge !== undefined && bridge.up && steps.length === 0) {
      const { hosts: _, ...carried } = network;
      ready.push(range6 === null ? carried : { ...carried, ip6: true });
    }
  }
  const gone = [...bridges.keys(), ...tunnels.keys()].filter((name) => !wanted.has(name)).toSorted();
  // Ports before their bridges: the names sort the other way round.
  for (const name of gone.toReversed()) actions.push({ kind: "delete-device", name });
  const any = desired.networks.length > 0;
  if (any && !observed.allowed) actions.push({ kind: "allow-bridges" });
  if (!any && gone.length > 0) actions.push({ kind: "forbid-bridges" });
  return { actions, ready, conditions };
}

function planRouted({ vni, range }: DeclaredNetwork, bridge: SegmentBridge | undefined, mtu: number): SegmentAction[] {
  const name = bridgeOf(vni);
  const address = { address: declaredGateway(range), prefix: parseCidr(range).prefix };
  if (bridge === undefined) return [{ kind: "add-bridge", name, mac: bridgeMac(address.address), mtu, address }];
  // Of a network that had the number or the name before: nobody is on this one yet.
  const other = bridge.addresses.some((each) => each.address !== address.address);
  if (other) {
    const mac = bridgeMac(address.address);
    return [
      { kind: "delete-device", name },
      { kind: "add-bridge", name, mac, mtu, address },
    ];
  }
  const has = bridge.addresses.some((each) => each.address === address.address && each.prefix === address.prefix);
  return [
    ...(has ? [] : [{ kind: "put-address", name, ...address } as const]),
    ...(bridge.up ? [] : [{ kind: "set-up", name } as const]),
  ];
}

function planRouted6(network: DeclaredNetwork, range6: string, bridge: SegmentBridge | undefined): SegmentAction[] {
  const { gateway } = declaredWire6(range6, network);
  const wanted = [LINK_LOCAL, ...(gateway === null ? [] : [{ address: gateway, prefix: HOST6_PREFIX }])];
  const there = bridge?.addresses6 ?? [];
  return wanted
    .filter((want) => !there.some(({ address, prefix }) => address === want.address && prefix === want.prefix))
    .map((want) => ({ kind: "put-address6", name: bridgeOf(network.vni), ...want }));
}

function planLayer2(
  { vni }: DeclaredNetwork,
  at: {
    readonly desired: DesiredSegments;
    readonly observed: SegmentState;
    readonly bridge: SegmentBridge | undefined;
  },
): SegmentAction[] {
  const name = bridgeOf(vni);
  const mtu = segmentMtu(at.observed);
  if (at.bridge === undefined)
    return [{ kind: "add-bridge", name, mac: bridgeMac(at.desired.local), mtu, address: null }];
  if (at.bridge.addresses.length > 0) {
    const mac = bridgeMac(at.desired.local);
    return [
      { kind: "delete-device", name },
      { kind: "add-bridge", name, mac, mtu, address: null },
    ];
  }
  return at.bridge.up ? [] : [{ kind: "set-up", name }];
}

function planTunnel(
  { vni, hosts }: DesiredSegments["networks"][number],
  at: {
    readonly desired: DesiredSegments;
    readonly observed: SegmentState;
    readonly tunnel: SegmentTunnel | undefined;
  },
): SegmentAction[] {
  const [name, bridge] = [tunnelOf(vni), bridgeOf(vni)];
  const { desired, observed, tunnel } = at;
  const mtu = segmentMtu(observed);
  const actions: SegmentAction[] = [];
  const right = tunnel !== undefined && tunnel.vni === vni && tunnel.local === desired.local;
  if (!right) {
    // The name is exclusive, and so is the number on its port.
    if (tunnel !== undefined) actions.push({ kind: "delete-device", name });
    actions.push({ kind: "add-tunnel", name, vni, port: TUNNEL_PORT, local: desired.local, bridge, mtu });
  } else {
    if (tunnel.mtu !== mtu) actions.push({ kind: "set-mtu", name, mtu });
    if (tunnel.bridge !== bridge || !tunnel.up) actions.push({ kind: "set-master", name, bridge });
  }
  const have = new Set(right ? tunnel.flood : []);
  const want = new Set(hosts);
  for (const host of [...want].toSorted()) if (!have.has(host)) actions.push({ kind: "add-flood", name, host });
  for (const host of [...have].toSorted()) if (!want.has(host)) actions.push({ kind: "delete-flood", name, host });
  return actions;
}

/**
 * The same whatever mode the links are in, so that it does not change under containers: room for our VXLAN inside the widest
 * thing a link may be, WireGuard. Over a path that is narrower still, outer packets are split.
 */
function segmentMtu({ uplinkMtu }: SegmentState): number {
  return uplinkMtu - VXLAN_OVERHEAD_BYTES - WIREGUARD_OVERHEAD_BYTES;
}

function clashCondition(name: string, clash: NonNullable<ReturnType<typeof checkRangeClash>>): Condition {
  const free = clash.suggestion === null ? "a range that no host uses" : `a free range such as ${clash.suggestion}`;
  return {
    code: "network-range-clash",
    severity: "error",
    text: `Cannot carry network "${name}": this host routes ${clash.with.join(", ")} itself, which its range ${clash.range} covers`,
    hint: `Remove the host's route, or declare the network with ${free}`,
  };
}
