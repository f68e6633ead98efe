import { explainName } from "../discovery/explain-name.ts";
import { DEFAULT_CONTAINER_DOMAIN } from "../model/cluster.ts";
import { isNameOnly } from "../model/endpoint.ts";
import { AppError } from "../model/error.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { isIpv6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { gateway6Of } from "../network/address6.ts";
import { gatewayOf } from "../network/blocks.ts";
import { ENGINE_NETWORK } from "../network/plan-engine-network.ts";
import { virtualAddresses } from "../network/virtual-addresses.ts";
import { chooseParty } from "../network/policy/choose-parties.ts";
import { explainPolicy } from "../network/policy/explain-policy.ts";
import { findDropRules } from "../network/trace/find-drop-rules.ts";
import type { DropRule } from "../network/trace/find-drop-rules.ts";
import type { NearFacts, TraceQuestion } from "../network/trace/trace-facts.ts";
import { familyOf } from "../network/trace/trace-facts.ts";
import type { Holder } from "../model/holder.ts";
import type { SeenRoute } from "../platform/ports/net-inspector.ts";
import type { AgentState } from "./agent-state.ts";
import type { TraceEndpoint } from "./choose-trace-endpoint.ts";
import { chooseEndpoint, expectedDevice, virtualFacts } from "./choose-trace-endpoint.ts";
import { chooseTraceTarget } from "./choose-trace-target.ts";
import type { TraceTarget } from "./choose-trace-target.ts";
import { endOfContainer, findContainerNamed, findTraceEnd, ownAddresses } from "./find-trace-end.ts";
import type { TraceEnd, TraceEndWorld } from "./find-trace-end.ts";
import { knownParties, policyInput } from "./policy-input.ts";
import { carries } from "./trace-far.ts";
import type { TraceNetwork } from "./trace-networks.ts";
import { holderOf, traceNetwork } from "./trace-networks.ts";
import { nothing, requireHost, seeBridge, traceConditions } from "./trace-world.ts";
import type { TraceWorld } from "./trace-world.ts";

const CONNECT_MS = 2000;
const PING_MS = 1000;
const SMALL_BYTES = 84;
/** Sizes that some well-known encapsulation leaves of Ethernet's 1500, and the least that IPv6 promises. */
const SIZES = [1492, 1472, 1450, 1440, 1420, 1400, 1380, 1340, 1280, 1024, 576] as const;

interface From extends TraceEnd {
  /** Of the family that is traced. */
  readonly address: HostAddress | null;
  /** Where it has one; the network that it is asked about first. */
  readonly networks: readonly string[];
}

/** What FROM's host knows of the connection, and what a try of it gives. @throws AppError `not-found` for a FROM that is not here. */
export async function traceNear(world: TraceWorld, question: TraceQuestion): Promise<NearFacts> {
  const { state, inspector } = world;
  const host = requireHost(state);
  const family = familyOf(question);
  const place = await findFrom(world, question.from);
  const target = targetOf(state, question);
  const name = await resolveTarget(world, question.to, { target, family });
  const virtual = virtualFacts(state, target, question);
  const near = place.holders.map(({ network }) => network);
  const endpoint = chooseEndpoint(state, question, { target, addresses: name.addresses, virtual, near });
  const from = sourceFrom(state, place, { family, network: endpoint?.network ?? null });
  const network = traceNetwork(state, from.networks[0] ?? endpoint?.network ?? null);
  const [bridge, inside, seen] = await Promise.all([
    nearBridge(world, from, network),
    endpoint === null || from.namespace === undefined ? null : inspector.look(from.namespace, endpoint.address),
    endpoint === null ? null : inspector.look(null, endpoint.address),
  ]);
  const link = linkTo(state, endpoint?.host ?? null);
  const routes = { inside: inside?.route ?? null, seen: seen?.route ?? null };
  const bytes = Math.min(routes.inside?.mtu ?? 1500, routes.seen?.mtu ?? 1500, link?.mtu ?? 65_535);
  const to = endpoint === null ? null : { ...endpoint, address: virtual?.address ?? endpoint.address };
  const path = endpoint === null ? null : { from, endpoint, route: routes.seen, question, bridge: network.bridge };
  const ruleset = await inspector.ruleset().catch(nothing);
  const dropsOf = (large: number | null): readonly DropRule[] =>
    path === null || ruleset === null ? [] : nearDrops(ruleset, path, large);
  const [connect, packets] =
    to === null || from.namespace === undefined
      ? [null, null]
      : await Promise.all([
          to.port === null
            ? null
            : inspector.connect(from.namespace, {
                address: to.address,
                port: to.port,
                protocol: question.protocol,
                timeoutMs: CONNECT_MS,
              }),
          virtual === null ? tryPackets(world, from.namespace, { address: to.address, bytes }) : null,
        ]);
  return {
    host,
    family,
    from: {
      kind: from.kind,
      name: from.name,
      address: from.address,
      state: from.state,
      entered: from.namespace !== undefined,
      wire: wireOf(state, from, network),
    },
    name,
    virtual,
    endpoint,
    bridge,
    inside: inside === null ? null : { addresses: [...inside.addresses], route: inside.route },
    route: { seen: routes.seen, ...expectedDevice(state, endpoint) },
    policy: endpoint === null ? null : verdict(state, question, { from, endpoint }),
    link,
    fastPath: fastPathFacts(state, [from.address, endpoint?.address ?? null], network),
    drops: [...dropsOf(null)],
    connect,
    packets: packets === null ? null : { ...packets, drops: packets.large === "lost" ? [...dropsOf(bytes)] : [] },
    conditions: traceConditions(state),
  };
}

/** FROM, before it is known which of its addresses is used. */
interface FromPlace extends TraceEnd {
  /** What it has on networks of ours; none for the host itself. */
  readonly holders: readonly Pick<Holder, "address" | "address6" | "network">[];
}

async function findFrom(world: TraceWorld, text: string | null): Promise<FromPlace> {
  const { state } = world;
  const own = requireHost(state);
  if (text === null || text === `host:${own}`)
    return { kind: "host", name: own, state: null, namespace: null, holders: [] };
  const local = state.localHolders();
  const mine = new Set<string>([...local.map(({ address }) => address), ...ownAddresses(state)]);
  let addresses: readonly HostAddress[] = [];
  try {
    ({ addresses } = chooseParty(text, knownParties(state)));
  } catch (error) {
    // A container that has no address here may still be one of the engine's.
    const named = error instanceof AppError ? await findContainerNamed(world, text) : null;
    if (named === null) throw error;
    return { ...endOfContainer(named), holders: [] };
  }
  const address = addresses.find((each) => mine.has(each)) ?? null;
  const end = address === null ? null : await findTraceEnd(world, address);
  if (address !== null && end !== null) {
    const holder = holderOf(local, address);
    const all = holder === null ? [] : local.filter(({ container }) => container === holder.container);
    return { ...end, holders: all };
  }
  throw new AppError("not-found", `Cannot trace from "${text}": it has no address on host "${own}"`, {
    hint: "apollo ps",
  });
}

/** What FROM sends from: on the network of the other end, if it is there. */
function sourceFrom(
  state: AgentState,
  { holders, ...end }: FromPlace,
  { family, network }: { readonly family: 4 | 6; readonly network: string | null },
): From {
  if (end.kind === "host") {
    const own = ownAddresses(state).filter((address) => isIpv4(address) === (family === 4));
    return { ...end, address: own[0] ?? null, networks: [] };
  }
  const holder = holders.find((each) => each.network === network) ?? holders[0];
  const others = holders.filter((each) => each !== holder);
  const networks = holder === undefined ? [] : [holder, ...others].map((each) => each.network);
  return { ...end, networks, address: (family === 4 ? holder?.address : holder?.address6) ?? null };
}

/** The bridge of FROM's network. A host is on those that it routes; a segment is nobody's to reach from there. */
async function nearBridge(world: TraceWorld, from: From, network: TraceNetwork): Promise<NearFacts["bridge"]> {
  if (from.kind !== "host") return seeBridge(world, network);
  const { name, bridge, layer2 } = network;
  if (layer2) return { name: bridge, network: name, layer2, there: true, up: true, gateway: true };
  return seeBridge(world, traceNetwork(world.state, DEFAULT_NETWORK));
}

function wireOf({ ports }: AgentState, { address }: From, { name }: TraceNetwork): string | null {
  if (address === null) return null;
  const own = ports.filter(
    ({ network }) => network === name || (name === DEFAULT_NETWORK && network === ENGINE_NETWORK),
  );
  return own.find((port) => carries(port, address))?.device ?? null;
}

function targetOf(state: AgentState, question: TraceQuestion): TraceTarget {
  const { identity, hosts, networkConfig } = state;
  if (identity === null) throw new AppError("unavailable", "Cannot trace: this host has not joined a cluster yet");
  const { virtuals } = networkConfig;
  const { settings } = identity;
  const { range6 = null } = settings;
  const blocksOf = (host: string): readonly string[] =>
    host === identity.hostName
      ? identity.blocks
      : ([...state.peers.values()].find(({ name }) => name === host)?.blocks ?? []);
  const address6Of = (host: string): HostAddress | null => {
    const blocks = blocksOf(host);
    return range6 === null || blocks.length === 0 ? null : gateway6Of(range6, gatewayOf(blocks));
  };
  const family = familyOf(question);
  const [endpoints, holders] = [state.endpoints(), state.holders()];
  return chooseTraceTarget(question.to, { endpoints, holders, hosts, virtuals, settings, family, address6Of });
}

async function resolveTarget(
  world: TraceWorld,
  text: string,
  { target: { dnsName, addresses }, family }: { readonly target: TraceTarget; readonly family: 4 | 6 },
): Promise<NearFacts["name"]> {
  const { state, inspector, clock, gateway } = world;
  const server = gateway();
  const none = { asked: dnsName, server, code: null, ms: null, expected: null, left: [], aside: null } as const;
  if (dnsName === null) {
    const aside = addresses.length > 0 ? null : await findAside(world, text);
    return { ...none, left: [], addresses: [...addresses], aside };
  }
  const explained = explain(state, dnsName, family);
  const began = clock.monotonicMs();
  const answer =
    server === null ? { code: "SILENT" as const, addresses: [] } : await inspector.resolve(dnsName, server, family);
  return {
    ...none,
    code: answer.code,
    addresses: [...answer.addresses].toSorted(),
    ms: Math.round((clock.monotonicMs() - began) * 10) / 10,
    expected: explained.addresses,
    left: explained.left,
    aside: answer.addresses.length > 0 ? null : await findAside(world, text),
  };
}

export async function findAside(world: TraceEndWorld, text: string): Promise<NearFacts["name"]["aside"]> {
  const container = await findContainerNamed(world, text);
  return container === null ? null : { container: container.name, state: container.state };
}

function explain(
  state: AgentState,
  name: string,
  family: 4 | 6,
): { addresses: HostAddress[] | null; left: NearFacts["name"]["left"] } {
  const { identity, hosts, networkConfig } = state;
  if (identity === null) return { addresses: null, left: [] };
  const { dnsDomain: domain, datacenter, containerDomain = DEFAULT_CONTAINER_DOMAIN } = identity.settings;
  const virtuals = virtualAddresses(networkConfig.virtuals, identity.settings);
  const named = [...state.eachEndpoint()].filter(isNameOnly);
  const known = {
    endpoints: state.endpoints(),
    withheld: [],
    hosts,
    virtuals,
    named,
    domain,
    datacenter,
    containerDomain,
    queries: state.consul?.queries ?? [],
  };
  const { code, answers, excluded } = explainName(known, name, family === 4 ? "A" : "AAAA");
  const found = answers.map(({ data }) => data).filter((data) => isIpv4(data) || isIpv6(data));
  return { addresses: code === "FORWARDED" ? null : found.toSorted(), left: excluded.slice(0, 1000) };
}

function verdict(
  state: AgentState,
  { protocol }: TraceQuestion,
  { from, endpoint }: { readonly from: From; readonly endpoint: TraceEndpoint },
): NearFacts["policy"] {
  const input = policyInput(state);
  if (input === null) return null;
  if (from.kind === "host" && endpoint.host === from.name)
    return { allowed: true, reason: "root", by: null, rules: [], cure: null };
  const parties = knownParties(state);
  const party = chooseParty(from.kind === "host" ? `host:${from.name}` : (from.address ?? endpoint.address), parties);
  const answer = explainPolicy(input, {
    from: party,
    to: chooseParty(endpoint.address, parties),
    protocol,
    port: endpoint.port,
  });
  const one = answer.cases.find(({ allowed }) => !allowed) ?? answer.cases[0];
  return one === undefined
    ? null
    : { allowed: one.allowed, reason: one.reason, by: one.by, rules: [...one.rules], cure: answer.cure };
}

function linkTo(state: AgentState, host: string | null): NearFacts["link"] {
  const link = state.links.find(({ peer }) => peer === host);
  if (link === undefined) return null;
  const row = state.linkRows.find(({ peer }) => peer === host);
  const { mode, via, why, up, rttMs, lossPercent, mtu, encryption } = link;
  const best = row === undefined || row.modes.length === 0 || row.modes[0] === mode;
  return { mode, via, why, up, rttMs, lossPercent, mtu, encryption, best };
}

function fastPathFacts(
  state: AgentState,
  ends: readonly (HostAddress | null)[],
  { name }: TraceNetwork,
): NearFacts["fastPath"] {
  const off = state.conditions().find(({ code }) => code === "fast-path-off");
  if (state.ways === null) return null;
  const ranges = state.slowRanges().policy.map(parseCidr);
  const isSlow = (address: HostAddress): boolean =>
    !isIpv4(address) || ranges.some((range) => cidrContains(range, address));
  const slow = name !== DEFAULT_NETWORK || ends.some((address) => address !== null && isSlow(address));
  return { on: off === undefined, why: off?.text ?? null, slow };
}

interface NearPath {
  readonly from: From;
  readonly endpoint: TraceEndpoint;
  readonly route: SeenRoute | null;
  readonly question: TraceQuestion;
  /** Of FROM's network. */
  readonly bridge: string;
}

function nearDrops(
  ruleset: string,
  { from, endpoint, route, question, bridge }: NearPath,
  large: number | null,
): readonly DropRule[] {
  const local = from.kind === "host";
  return findDropRules(ruleset, {
    hook: local ? "output" : "forward",
    inDevice: local ? null : bridge,
    outDevice: route?.device ?? null,
    source: from.address,
    destination: endpoint.address,
    protocol: large === null ? question.protocol : "icmp",
    port: large === null ? endpoint.port : null,
    bytes: large ?? 60,
  }).slice(0, 100);
}

type Packets = Omit<NonNullable<NearFacts["packets"]>, "drops">;

/** A packet as large as the way should carry beside a small one; when only the small one arrives, how much does. */
async function tryPackets(
  { inspector }: TraceWorld,
  namespace: string | null,
  { address, bytes }: { readonly address: HostAddress; readonly bytes: number },
): Promise<Packets> {
  const ping = (size: number) => inspector.ping(namespace, { address, bytes: size, timeoutMs: PING_MS });
  const [small, large] = await Promise.all([ping(SMALL_BYTES), ping(bytes)]);
  if (small !== "answered" || large !== "lost") return { small, large, bytes, passes: null };
  const sizes = SIZES.filter((size) => size < bytes);
  const answers = await Promise.all(sizes.map(ping));
  return { small, large, bytes, passes: sizes.find((_, at) => answers[at] === "answered") ?? null };
}
