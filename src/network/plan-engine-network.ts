import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrContains, cidrSize, parseCidr } from "../model/ip.ts";
import type { Cidr6, Ipv6 } from "../model/ip6.ts";
import { formatCidr6 } from "../model/ip6.ts";
import type { EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import { engineRange6 } from "./address6.ts";
import { BRIDGE } from "./plan-network.ts";
import { engineShare } from "./split-block.ts";

export const ENGINE_NETWORK = "apollo";
export const OPTION_BRIDGE = "com.docker.network.bridge.name";
const OPTION_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade";
const OPTION_MTU = "com.docker.network.driver.mtu";
const OPTION_GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv4";
const OPTION_GATEWAY6_MODE = "com.docker.network.bridge.gateway_mode_ipv6";
/** Engine 28: from there on the engine drops packets for containers that do not come from their own bridge. */
const API_MINOR_DIRECT_ROUTING_DROPPED = 48;

export type EngineNetworkPlan =
  | {
      readonly kind: "ready";
      readonly name: string;
      /** The agent may choose a container's address on it. */
      readonly fixedAddresses: boolean;
      /** What it hands out by itself; null for all of it. */
      readonly ipRange: string | null;
      /** Containers on it have IPv6 addresses. */
      readonly ip6: boolean;
      /** What works less well than it could. */
      readonly fault: string | null;
    }
  | { readonly kind: "create"; readonly spec: EngineNetworkSpec }
  | { readonly kind: "recreate"; readonly spec: EngineNetworkSpec }
  | { readonly kind: "blocked"; readonly why: string; readonly hint: string };

/** The engine's network on our bridge: its share of the host's block to hand out from, the whole range on the wire. */
export function engineNetworkSpec(want: {
  readonly range: string;
  readonly block: string;
  readonly gateway: Ipv4;
  readonly mtu: number;
  /** The host's part of the IPv6 range; null or missing for none. */
  readonly six?: { readonly host6: Cidr6; readonly gateway: Ipv6 } | null;
  /** The engine's, such as "1.41". */
  readonly apiVersion: string;
}): EngineNetworkSpec {
  const block = parseCidr(want.block);
  const options: Record<string, string> = {
    [OPTION_BRIDGE]: BRIDGE,
    // Ours masquerades, and only towards the outside (renderRuleset).
    [OPTION_MASQUERADE]: "false",
    [OPTION_MTU]: String(want.mtu),
  };
  if (Number(want.apiVersion.split(".")[1]) >= API_MINOR_DIRECT_ROUTING_DROPPED)
    options[OPTION_GATEWAY_MODE] = "nat-unprotected";
  const { six = null } = want;
  if (six !== null && options[OPTION_GATEWAY_MODE] !== undefined) options[OPTION_GATEWAY6_MODE] = "nat-unprotected";
  return {
    name: ENGINE_NETWORK,
    subnet: want.range,
    ipRange: engineShare(want.block),
    gateway: want.gateway,
    // Docker would hand out both: inside the range they are addresses like any other.
    reserved: { network: cidrAddress(block, 0), broadcast: cidrAddress(block, cidrSize(block) - 1) },
    ...(six === null
      ? {}
      : { ip6: { subnet: formatCidr6(six.host6), ipRange: engineRange6(six.host6), gateway: six.gateway } }),
    options,
  };
}

/** The engine's default network, when it was started with `--bridge=apollo0`. */
export function findDefaultBridge(networks: readonly EngineNetwork[]): EngineNetwork | undefined {
  return networks.find(({ name, options }) => name === "bridge" && options[OPTION_BRIDGE] === BRIDGE);
}

/**
 * Whether the engine may give the address to a container for which nobody chose one. It does not in networks that we make: there
 * the ends of the block are kept out.
 */
export function mayGiveAway(
  address: Ipv4,
  { fixedAddresses, ipRange }: { readonly fixedAddresses: boolean; readonly ipRange: string | null },
): boolean {
  return !fixedAddresses && (ipRange === null || cidrContains(parseCidr(ipRange), address));
}

/**
 * Which engine network containers are started on, or what has to happen first.
 * @param block a network that hands out all of it, as former versions made it, is good as well
 */
export function planEngineNetwork(
  spec: EngineNetworkSpec,
  networks: readonly EngineNetwork[],
  block: string | null = null,
): EngineNetworkPlan {
  const onBridge = networks.filter((network) => network.options[OPTION_BRIDGE] === BRIDGE);
  // A daemon started with --bridge=apollo0: its default network is the one, and Docker allows no --ip on that.
  const own = findDefaultBridge(networks);
  if (own !== undefined) {
    const { ipRange } = own;
    return { kind: "ready", name: "bridge", fixedAddresses: false, ipRange, ip6: false, fault: null };
  }
  const other = onBridge.find((network) => network.name !== ENGINE_NETWORK);
  if (other !== undefined) {
    return {
      kind: "blocked",
      why: `engine network "${other.name}" uses bridge ${BRIDGE}`,
      hint: `Remove it: docker network rm ${other.name}`,
    };
  }
  const current = networks.find((network) => network.name === ENGINE_NETWORK);
  if (current === undefined) return { kind: "create", spec };
  const fault = findFault(spec, current, block);
  const attached = Object.keys(current.containers).length;
  if (fault !== null && attached === 0) return { kind: "recreate", spec };
  const soft = findSoftFault(spec, current);
  if (fault === null || fault === soft) {
    const { ipRange } = current;
    const ip6 = hasIp6(spec, current);
    return { kind: "ready", name: ENGINE_NETWORK, fixedAddresses: true, ipRange, ip6, fault: soft };
  }
  return {
    kind: "blocked",
    why: `engine network "${ENGINE_NETWORK}" has ${fault}, and ${attached} containers are attached`,
    hint: `Stop them; then the network is made anew: docker ps --filter network=${ENGINE_NETWORK}`,
  };
}

/** MTU is not compared: it changes with the uplink, and routes carry their own. */
function findFault(spec: EngineNetworkSpec, current: EngineNetwork, block: string | null): string | null {
  const pairs: readonly (readonly [string, string | null | undefined, string])[] = [
    ["driver", current.driver, "bridge"],
    ["subnet", current.subnet, spec.subnet],
    // One that was made with the whole block stays: stopped containers would not find another one.
    ["address range", current.ipRange === block ? spec.ipRange : current.ipRange, spec.ipRange],
    ["gateway", current.gateway, spec.gateway],
    ["bridge", current.options[OPTION_BRIDGE], BRIDGE],
    ["masquerading", current.options[OPTION_MASQUERADE], "false"],
  ];
  const wrong = pairs.find(([, have, want]) => have !== want);
  if (wrong === undefined) return findSoftFault(spec, current);
  return `${wrong[0]} ${wrong[1] ?? "unset"} instead of ${wrong[2]}`;
}

/** What containers that run can live with until the network is empty and made anew. */
function findSoftFault(spec: EngineNetworkSpec, current: EngineNetwork): string | null {
  const mode = findGatewayModeFault(spec, current);
  if (mode !== null) return mode;
  const [want, have] = [spec.ip6?.subnet ?? "none", current.ip6?.subnet ?? "none"];
  return want === have ? null : `IPv6 subnet ${have} instead of ${want}`;
}

function hasIp6(spec: EngineNetworkSpec, current: EngineNetwork): boolean {
  return (spec.ip6 ?? null) !== null && current.ip6?.subnet === spec.ip6?.subnet;
}

/** An engine that was upgraded under running containers: they work on this host, but other hosts' packets are dropped. */
function findGatewayModeFault(spec: EngineNetworkSpec, current: EngineNetwork): string | null {
  const want = spec.options[OPTION_GATEWAY_MODE];
  if (want === undefined || current.options[OPTION_GATEWAY_MODE] === want) return null;
  return `gateway mode ${current.options[OPTION_GATEWAY_MODE] ?? "unset"} instead of ${want}`;
}
