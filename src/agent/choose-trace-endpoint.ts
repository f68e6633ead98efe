import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { formatCidr6, formatEndpoint, parseHostAddress } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { virtual6Of } from "../network/address6.ts";
import { planFronts } from "../network/plan-fronts.ts";
import { TUNNEL } from "../network/plan-network.ts";
import type { NearFacts, TraceQuestion } from "../network/trace/trace-facts.ts";
import { WIREGUARD } from "../network/wireguard/plan-wireguard.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { AgentState } from "./agent-state.ts";
import type { TraceTarget } from "./choose-trace-target.ts";
import { ownAddresses } from "./find-trace-end.ts";
import { heldOf, holderOf, isOfHost, part6Of, traceNetwork } from "./trace-networks.ts";

export type TraceEndpoint = NonNullable<NearFacts["endpoint"]>;

/** TO as a virtual address: what it answers on and with whom; null when it is none. */
export function virtualFacts(
  state: AgentState,
  { virtual }: TraceTarget,
  { port, protocol }: TraceQuestion,
): NearFacts["virtual"] {
  if (virtual === null) return null;
  const { identity, labels, networkConfig } = state;
  const family = isIpv4(virtual.address) ? 4 : 6;
  const { range6 = null, virtualRange = "" } = identity?.settings ?? {};
  const { fronts } = planFronts({
    config: { publications: [], virtuals: networkConfig.virtuals.filter(({ name }) => name === virtual.name) },
    endpoints: state.endpoints(),
    hostName: identity?.hostName ?? "",
    hostLabels: labels,
    busyPorts: new Set(),
    virtual6: range6 === null ? null : virtual6Of(range6, virtualRange),
  });
  // One that nobody serves in this family is a port that is not there.
  const mine = fronts.filter((front) => front.family === family && front.protocol === protocol);
  const used = mine.filter((front) => port === null || front.port === port);
  const backends = used.flatMap((front) => front.backends.map((each) => formatEndpoint(each.address, each.port)));
  return {
    name: virtual.name,
    address: virtual.address,
    ports: [...new Set(mine.map((front) => front.port))],
    backends: backends.slice(0, 1000),
  };
}

interface Chosen {
  readonly target: TraceTarget;
  readonly addresses: readonly HostAddress[];
  readonly virtual: NearFacts["virtual"];
  /** Networks that FROM is on. */
  readonly near: readonly string[];
}

/** The first of those that the name or the virtual address stands for, on a network of FROM's if there is one. */
export function chooseEndpoint(
  state: AgentState,
  { port, protocol }: TraceQuestion,
  { target, addresses, virtual, near }: Chosen,
): NearFacts["endpoint"] {
  const at = (address: HostAddress, chosen: number | null): TraceEndpoint =>
    endpointAt(state, address, { port: chosen, protocol, near });
  const [backend] = virtual?.backends ?? [];
  if (virtual !== null) {
    const [, address = "", chosen] = /^\[?([^\]]+)\]?:(\d+)$/.exec(backend ?? "") ?? [];
    return address === "" ? null : at(parseHostAddress(address), Number(chosen));
  }
  const isNear = (address: HostAddress): boolean =>
    near.includes(holderOf(state.holders(), address, near)?.network ?? "");
  const address = addresses.find(isNear) ?? addresses[0];
  if (address === undefined) return null;
  if (port !== null) return at(address, port);
  const registered = state
    .endpoints()
    .filter(
      (each) =>
        hasAddress(each, address) && each.protocol === protocol && (target.service ?? each.service) === each.service,
    );
  const ports = new Set(registered.map((each) => each.port));
  const [only] = ports;
  // Of an address with several services, and no word which, none is meant.
  return at(address, ports.size === 1 || target.service !== null ? (only ?? null) : null);
}

interface Place {
  readonly port: number | null;
  readonly protocol: "tcp" | "udp";
  readonly near: readonly string[];
}

function endpointAt(state: AgentState, address: HostAddress, { port, protocol, near }: Place): TraceEndpoint {
  const registered = state
    .endpoints()
    .find((each) => hasAddress(each, address) && each.port === port && each.protocol === protocol);
  const holder = holderOf(state.holders(), address, near);
  const inDefault = (holder?.network ?? DEFAULT_NETWORK) === DEFAULT_NETWORK;
  const owner = inDefault ? ownerOf(state, address) : null;
  return {
    address,
    port,
    host: owner ?? holder?.host ?? null,
    container: holder?.container ?? registered?.container ?? null,
    health: registered?.health ?? null,
    network: holder?.network ?? null,
  };
}

function hasAddress(endpoint: Pick<Endpoint, "address" | "address6">, address: HostAddress): boolean {
  return endpoint.address === address || endpoint.address6 === address;
}

/** By what this host was told of leases and members. */
function ownerOf(state: AgentState, address: HostAddress): string | null {
  const { identity, peers, hosts } = state;
  const own = identity === null ? [] : [{ name: identity.hostName, blocks: identity.blocks }];
  const members = [...own, ...peers.values()];
  const holding = isIpv4(address)
    ? members
        .flatMap(({ name, blocks }) => blocks.map((block) => ({ name, cidr: parseCidr(block) })))
        .filter(({ cidr }) => cidrContains(cidr, address))
        .toSorted((a, b) => b.cidr.prefix - a.cidr.prefix)
    : members.filter(({ blocks }) => isOfHost(state, address, blocks));
  return holding[0]?.name ?? hosts.find((host) => host.address === address)?.name ?? null;
}

/** By which device packets to the endpoint have to leave this host; null where any is right. */
export function expectedDevice(
  state: AgentState,
  endpoint: NearFacts["endpoint"],
): { expected: string | null; block: string | null } {
  const { identity, ways } = state;
  if (endpoint === null || identity === null) return { expected: null, block: null };
  const { address } = endpoint;
  const network = traceNetwork(state, endpoint.network);
  // Hosts have no way into a segment.
  if (network.layer2) return { expected: null, block: null };
  const holds = (block: string): boolean => isIpv4(address) && cidrContains(parseCidr(block), address);
  const held = heldOf(state, address, network);
  const own = isIpv4(address) ? held.find(holds) : isOfHost(state, address, network.blocks) ? held[0] : undefined;
  if (own !== undefined) return { expected: ownAddresses(state).includes(address) ? null : network.bridge, block: own };
  const way = (ways ?? []).find(({ blocks }) =>
    isIpv4(address) ? blocks.some(holds) : isOfHost(state, address, blocks.slice(0, 1)),
  );
  const part = way === undefined || isIpv4(address) ? null : part6Of(state, way.blocks);
  const block = part === null ? (way?.blocks.find(holds) ?? null) : formatCidr6(part);
  if (way === undefined || way.mode === "relay") return { expected: null, block };
  return { expected: { direct: way.device, vxlan: TUNNEL, wireguard: WIREGUARD }[way.mode], block };
}
