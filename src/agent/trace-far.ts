import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { cidr6Contains, parseCidr6 } from "../model/ip6.ts";
import type { LocalPort } from "../network/local-port.ts";
import { findDropRules } from "../network/trace/find-drop-rules.ts";
import type { FarFacts, FarQuestion } from "../network/trace/trace-facts.ts";
import type { SeenListener } from "../platform/ports/net-inspector.ts";
import type { AgentState } from "./agent-state.ts";
import { findTraceEnd, ownAddresses } from "./find-trace-end.ts";
import type { TraceEnd } from "./find-trace-end.ts";
import { heldOf, holderOf, traceNetwork } from "./trace-networks.ts";
import { nothing, requireHost, seeBridge, traceConditions } from "./trace-world.ts";
import type { TraceWorld } from "./trace-world.ts";

/** Ports shown to somebody who took the wrong one. */
const OTHER_PORTS_MAX = 20;

/** What TO's host knows of its end. */
export async function traceFar(world: TraceWorld, question: FarQuestion): Promise<FarFacts> {
  const { state, inspector } = world;
  const { address, port, protocol, source } = question;
  const host = requireHost(state);
  const network = traceNetwork(state, question.network);
  const blocks = heldOf(state, address, network);
  const end = await findTraceEnd(world, address, question.network);
  const [bridge, seen, neighbour, back, listening, inside, links, ruleset] = await Promise.all([
    seeBridge(world, network),
    inspector.look(null, address),
    inspector.neighbour(address),
    source === null ? null : inspector.look(null, source).catch(nothing),
    end === null || end.namespace === undefined ? null : inspector.listeners(end.namespace, protocol).catch(nothing),
    end === null || end.namespace === undefined ? null : inspector.look(end.namespace, address).catch(nothing),
    inspector.links(),
    inspector.ruleset().catch(nothing),
  ]);
  const wire = state.ports.find((port) => port.network === network.name && carries(port, address)) ?? null;
  const drops = (large: number | null): FarFacts["drops"] =>
    ruleset === null
      ? []
      : farDrops(ruleset, question, { end, large, inDevice: back?.route?.device ?? null, bridge: network.bridge });
  return {
    host,
    blocks: [...blocks],
    owns: isHeld(address, blocks) || ownAddresses(state).includes(address),
    holder: end?.kind ?? null,
    container: end?.kind === "container" ? containerFacts(end, inside?.addresses.includes(address) ?? false) : null,
    bridge,
    route: seen.route,
    neighbour,
    wire:
      wire === null ? null : { device: wire.device, up: links.find(({ name }) => name === wire.device)?.up ?? false },
    listeners: listening === null ? null : atPort(listening, port),
    otherPorts: [...new Set((listening ?? []).filter(reachable).map((each) => each.port))].slice(0, OTHER_PORTS_MAX),
    health: healthOf(state, question),
    guarded: state.slowRanges().policy.includes(`${holderOf(state.localHolders(), address)?.address ?? address}/32`),
    drops: drops(null),
    largeDrops: drops(question.bytes),
    conditions: traceConditions(state),
  };
}

/** Whether packets with that source may come from the port. */
export function carries({ addresses, addresses6 = [] }: LocalPort, address: HostAddress): boolean {
  return [...addresses, ...addresses6].some((own) => own === address);
}

function isHeld(address: HostAddress, blocks: readonly string[]): boolean {
  return blocks.some((block) =>
    isIpv4(address) ? cidrContains(parseCidr(block), address) : cidr6Contains(parseCidr6(block), address),
  );
}

function containerFacts({ name, state, namespace }: TraceEnd, inside: boolean): FarFacts["container"] {
  return { name, state: state ?? "running", entered: namespace !== undefined, inside };
}

function atPort(listening: readonly SeenListener[], port: number | null): string[] {
  return listening
    .filter((each) => each.port === port)
    .map(({ address }) => address)
    .slice(0, 1000);
}

function reachable({ address }: SeenListener): boolean {
  return !address.startsWith("127.") && address !== "::1";
}

function healthOf(state: AgentState, { address, port, protocol }: FarQuestion): FarFacts["health"] {
  const found = [...state.localEndpoints().values()].find(
    (each) =>
      (each.address === address || each.address6 === address) && each.port === port && each.protocol === protocol,
  );
  return found === undefined ? null : { endpoint: found.id, health: found.health };
}

function farDrops(
  ruleset: string,
  { address, port, protocol, source }: FarQuestion,
  {
    end,
    large,
    inDevice,
    bridge,
  }: {
    readonly end: TraceEnd | null;
    readonly large: number | null;
    readonly inDevice: string | null;
    readonly bridge: string;
  },
): FarFacts["drops"] {
  const local = end?.kind === "host";
  const found = findDropRules(ruleset, {
    hook: local ? "input" : "forward",
    inDevice,
    outDevice: local ? null : bridge,
    source,
    destination: address,
    protocol: large === null ? protocol : "icmp",
    port: large === null ? port : null,
    bytes: large ?? 60,
  });
  // What drops small packets as well is told with those.
  return found.filter(({ certain }) => large === null || certain).slice(0, 100);
}
