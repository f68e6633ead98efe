import { explainName } from "../discovery/explain-name.ts";
import { DEFAULT_CONTAINER_DOMAIN } from "../model/cluster.ts";
import { isNameOnly } from "../model/endpoint.ts";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import { BRIDGE } from "../network/plan-network.ts";
import { chooseParty } from "../network/policy/choose-parties.ts";
import { explainPolicy } from "../network/policy/explain-policy.ts";
import { findDropRules } from "../network/trace/find-drop-rules.ts";
import type { DropRule } from "../network/trace/find-drop-rules.ts";
import type { NearFacts, TraceQuestion } from "../network/trace/trace-facts.ts";
import type { SeenRoute } from "../platform/ports/net-inspector.ts";
import type { AgentState } from "./agent-state.ts";
import type { TraceEndpoint } from "./choose-trace-endpoint.ts";
import { chooseEndpoint, expectedDevice, virtualFacts } from "./choose-trace-endpoint.ts";
import { chooseTraceTarget } from "./choose-trace-target.ts";
import type { TraceTarget } from "./choose-trace-target.ts";
import { findContainerNamed, findTraceEnd, ownAddresses } from "./find-trace-end.ts";
import type { TraceEnd, TraceEndWorld } from "./find-trace-end.ts";
import { knownParties, policyInput } from "./policy-input.ts";
import { nothing, requireHost, seeBridge, traceConditions } from "./trace-world.ts";
import type { TraceWorld } from "./trace-world.ts";

const CONNECT_MS = 2000;
const PING_MS = 1000;
const SMALL_BYTES = 84;
/** Sizes that some well-known encapsulation leaves of Ethernet's 1500, and the least that IPv6 promises. */
const SIZES = [1492, 1472, 1450, 1440, 1420, 1400, 1380, 1340, 1280, 1024, 576] as const;

interface From extends TraceEnd {
  readonly address: Ipv4 | null;
}

/** What FROM's host knows of the connection, and what a try of it gives. @throws AppError `not-found` for a FROM that is not here. */
export async function traceNear(world: TraceWorld, question: TraceQuestion): Promise<NearFacts> {
  const { state, inspector } = world;
  const host = requireHost(state);
  const from = await findFrom(world, question.from);
  const target = targetOf(state, question.to);
  const name = await resolveTarget(world, question.to, target);
  const virtual = virtualFacts(state, target, question);
  const endpoint = chooseEndpoint(state, question, { target, addresses: name.addresses, virtual });
  const [bridge, inside, seen] = await Promise.all([
    seeBridge(world),
    endpoint === null || from.namespace === undefined ? null : inspector.look(from.namespace, endpoint.address),
    endpoint === null ? null : inspector.look(null, endpoint.address),
  ]);
  const link = linkTo(state, endpoint?.host ?? null);
  const routes = { inside: inside?.route ?? null, seen: seen?.route ?? null };
  const bytes = Math.min(routes.inside?.mtu ?? 1500, routes.seen?.mtu ?? 1500, link?.mtu ?? 65_535);
  const to = endpoint === null ? null : { ...endpoint, address: virtual?.address ?? endpoint.address };
  const path = endpoint === null ? null : { from, endpoint, route: routes.seen, question };
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
    from: {
      kind: from.kind,
      name: from.name,
      address: from.address,
      state: from.state,
      entered: from.namespace !== undefined,
      wire:
        state.ports.find(({ addresses }) => from.address !== null && addresses.includes(from.address))?.device ?? null,
    },
    name,
    virtual,
    endpoint,
    bridge,
    inside: inside === null ? null : { addresses: [...inside.addresses], route: inside.route },
    route: { seen: routes.seen, ...expectedDevice(state, endpoint) },
    policy: endpoint === null ? null : verdict(state, question, { from, endpoint }),
    link,
    fastPath: fastPathFacts(state, [from.address, endpoint?.address ?? null]),
    drops: [...dropsOf(null)],
    connect,
    packets: packets === null ? null : { ...packets, drops: packets.large === "lost" ? [...dropsOf(bytes)] : [] },
    conditions: traceConditions(state),
  };
}

async function findFrom(world: TraceWorld, text: string | null): Promise<From> {
  const { state } = world;
  const own = requireHost(state);
  if (text === null || text === `host:${own}`) {
    return { kind: "host", name: own, state: null, namespace: null, address: ownAddresses(state)[0] ?? null };
  }
  const parties = knownParties(state);
  const mine = new Set<string>([...state.localHolders().map(({ address }) => address), ...ownAddresses(state)]);
  let addresses: readonly Ipv4[] = [];
  try {
    ({ addresses } = chooseParty(text, parties));
  } catch (error) {
    // A container that has no address here may still be one of the engine's.
    const named = error instanceof AppError ? await findContainerNamed(world, text) : null;
    if (named === null) throw error;
    const { name, pid, state: phase } = named;
    return {
      kind: "container",
      name,
      state: phase,
      namespace: pid === null ? undefined : `/proc/${pid}/ns/net`,
      address: null,
    };
  }
  const address = addresses.find((each) => mine.has(each)) ?? null;
  const end = address === null ? null : await findTraceEnd(world, address);
  if (end !== null) return { ...end, address };
  throw new AppError("not-found", `Cannot trace from "${text}": it has no address on host "${own}"`, {
    hint: "apollo ps",
  });
}

function targetOf(state: AgentState, text: string): TraceTarget {
  const { identity, hosts, networkConfig } = state;
  if (identity === null) throw new AppError("unavailable", "Cannot trace: this host has not joined a cluster yet");
  const { virtuals } = networkConfig;
  const known = {
    endpoints: state.endpoints(),
    holders: state.holders(),
    hosts,
    virtuals,
    settings: identity.settings,
  };
  return chooseTraceTarget(text, known);
}

async function resolveTarget(
  world: TraceWorld,
  text: string,
  { dnsName, addresses }: TraceTarget,
): Promise<NearFacts["name"]> {
  const { state, inspector, clock, gateway } = world;
  const server = gateway();
  const none = { asked: dnsName, server, code: null, ms: null, expected: null, left: [], aside: null } as const;
  if (dnsName === null) {
    const aside = addresses.length > 0 ? null : await findAside(world, text);
    return { ...none, left: [], addresses: [...addresses], aside };
  }
  const explained = explain(state, dnsName);
  const began = clock.monotonicMs();
  const answer =
    server === null ? { code: "SILENT" as const, addresses: [] } : await inspector.resolve(dnsName, server);
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

function explain(state: AgentState, name: string): { addresses: Ipv4[] | null; left: NearFacts["name"]["left"] } {
  const { identity, hosts, networkConfig } = state;
  if (identity === null) return { addresses: null, left: [] };
  const { dnsDomain: domain, datacenter, containerDomain = DEFAULT_CONTAINER_DOMAIN } = identity.settings;
  const virtuals = new Map(networkConfig.virtuals.map((each) => [each.name, each.address ?? ""]));
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
  const { code, answers, excluded } = explainName(known, name, "A");
  const found = answers.map(({ data }) => data).filter(isIpv4);
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

function fastPathFacts(state: AgentState, ends: readonly (Ipv4 | null)[]): NearFacts["fastPath"] {
  const off = state.conditions().find(({ code }) => code === "fast-path-off");
  if (state.ways === null) return null;
  const ranges = state.slowRanges().policy.map(parseCidr);
  const slow = ends.some((address) => address !== null && ranges.some((range) => cidrContains(range, address)));
  return { on: off === undefined, why: off?.text ?? null, slow };
}

interface NearPath {
  readonly from: From;
  readonly endpoint: TraceEndpoint;
  readonly route: SeenRoute | null;
  readonly question: TraceQuestion;
}

function nearDrops(
  ruleset: string,
  { from, endpoint, route, question }: NearPath,
  large: number | null,
): readonly DropRule[] {
  const local = from.kind === "host";
  return findDropRules(ruleset, {
    hook: local ? "output" : "forward",
    inDevice: local ? null : BRIDGE,
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
  { address, bytes }: { readonly address: Ipv4; readonly bytes: number },
): Promise<Packets> {
  const ping = (size: number) => inspector.ping(namespace, { address, bytes: size, timeoutMs: PING_MS });
  const [small, large] = await Promise.all([ping(SMALL_BYTES), ping(bytes)]);
  if (small !== "answered" || large !== "lost") return { small, large, bytes, passes: null };
  const sizes = SIZES.filter((size) => size < bytes);
  const answers = await Promise.all(sizes.map(ping));
  return { small, large, bytes, passes: sizes.find((_, at) => answers[at] === "answered") ?? null };
}
