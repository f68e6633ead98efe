import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import { planFronts } from "../network/plan-fronts.ts";
import { BRIDGE, TUNNEL } from "../network/plan-network.ts";
import type { NearFacts, TraceQuestion } from "../network/trace/trace-facts.ts";
import { WIREGUARD } from "../network/wireguard/plan-wireguard.ts";
import type { AgentState } from "./agent-state.ts";
import type { TraceTarget } from "./choose-trace-target.ts";
import { ownAddresses } from "./find-trace-end.ts";

export type TraceEndpoint = NonNullable<NearFacts["endpoint"]>;

/** TO as a virtual address: what it answers on and with whom; null when it is none. */
export function virtualFacts(
  state: AgentState,
  { virtual }: TraceTarget,
  { port, protocol }: TraceQuestion,
): NearFacts["virtual"] {
  if (virtual === null) return null;
  const { identity, labels, networkConfig } = state;
  const { fronts } = planFronts({
    config: { publications: [], virtuals: networkConfig.virtuals.filter(({ name }) => name === virtual.name) },
    endpoints: state.endpoints(),
    hostName: identity?.hostName ?? "",
    hostLabels: labels,
    busyPorts: new Set(),
  });
  const mine = fronts.filter((front) => front.protocol === protocol);
  const used = mine.filter((front) => port === null || front.port === port);
  const backends = used.flatMap((front) => front.backends.map((each) => `${each.address}:${each.port}`));
  return {
    name: virtual.name,
    address: virtual.address,
    ports: [...new Set(mine.map((front) => front.port))],
    backends: backends.slice(0, 1000),
  };
}

interface Chosen {
  readonly target: TraceTarget;
  readonly addresses: readonly Ipv4[];
  readonly virtual: NearFacts["virtual"];
}

/** The first of those that the name or the virtual address stands for. */
export function chooseEndpoint(
  state: AgentState,
  { port, protocol }: TraceQuestion,
  chosen: Chosen,
): NearFacts["endpoint"] {
  const { target, addresses, virtual } = chosen;
  const [backend] = virtual?.backends ?? [];
  if (virtual !== null) {
    if (backend === undefined) return null;
    const [address = "", backendPort] = backend.split(":");
    return isIpv4(address) ? endpointAt(state, address, { port: Number(backendPort), protocol }) : null;
  }
  const [address] = addresses;
  if (address === undefined) return null;
  if (port !== null) return endpointAt(state, address, { port, protocol });
  const registered = state
    .endpoints()
    .filter(
      (each) =>
        each.address === address && each.protocol === protocol && (target.service ?? each.service) === each.service,
    );
  const ports = new Set(registered.map((each) => each.port));
  const [only] = ports;
  // Of an address with several services, and no word which, none is meant.
  return endpointAt(state, address, {
    port: ports.size === 1 || target.service !== null ? (only ?? null) : null,
    protocol,
  });
}

function endpointAt(
  state: AgentState,
  address: Ipv4,
  { port, protocol }: { readonly port: number | null; readonly protocol: "tcp" | "udp" },
): TraceEndpoint {
  const registered = state
    .endpoints()
    .find((each) => each.address === address && each.port === port && each.protocol === protocol);
  const holder = state.holders().find((each) => each.address === address);
  return {
    address,
    port,
    host: ownerOf(state, address) ?? holder?.host ?? null,
    container: holder?.container ?? registered?.container ?? null,
    health: registered?.health ?? null,
  };
}

/** By what this host was told of leases and members. */
function ownerOf(state: AgentState, address: Ipv4): string | null {
  const { identity, peers, hosts } = state;
  const own = identity === null ? [] : [{ name: identity.hostName, blocks: identity.blocks }];
  const leases = [...own, ...peers.values()].flatMap(({ name, blocks }) =>
    blocks.map((block) => ({ name, cidr: parseCidr(block) })),
  );
  const fits = leases
    .filter(({ cidr }) => cidrContains(cidr, address))
    .toSorted((a, b) => b.cidr.prefix - a.cidr.prefix);
  return fits[0]?.name ?? hosts.find((host) => host.address === address)?.name ?? null;
}

/** By which device packets to the endpoint have to leave this host; null where any is right. */
export function expectedDevice(
  state: AgentState,
  endpoint: NearFacts["endpoint"],
): { expected: string | null; block: string | null } {
  const { identity, ways } = state;
  if (endpoint === null || identity === null) return { expected: null, block: null };
  const holds = (block: string): boolean => cidrContains(parseCidr(block), endpoint.address);
  const own = identity.blocks.find(holds);
  if (own !== undefined)
    return { expected: ownAddresses(state).includes(endpoint.address) ? null : BRIDGE, block: own };
  const way = (ways ?? []).find(({ blocks }) => blocks.some(holds));
  const block = way?.blocks.find(holds) ?? null;
  if (way === undefined || way.mode === "relay") return { expected: null, block };
  return { expected: { direct: way.device, vxlan: TUNNEL, wireguard: WIREGUARD }[way.mode], block };
}
