import { formatEndpoint } from "../../model/ip6.ts";
import {
  explainAgent,
  explainBlock,
  explainContainer,
  explainFarBridge,
  explainFirewall,
  explainHealth,
  explainPort,
  name,
  ruleCure,
} from "./explain-far.ts";
import type { End } from "./explain-far.ts";
import type { Finding } from "./explain-near.ts";
import {
  broken,
  explainEndpoint,
  explainFrom,
  explainLink,
  explainName,
  explainPolicyStep,
  explainRoute,
  explainWire,
  ok,
  skipped,
} from "./explain-near.ts";
import type { FarFacts, NearFacts, StepName, Told, TraceQuestion, TraceReport, TraceStep } from "./trace-facts.ts";
import { STEP_NAMES } from "./trace-facts.ts";

/** Of steps that there is nothing to look at for. */
export const NOT_REACHED = "not looked at";

export interface TraceInput {
  readonly question: TraceQuestion;
  /** Host that FROM is on. */
  readonly nearHost: string;
  readonly near: Told<NearFacts>;
  /** Null when no host of the cluster is at the end. */
  readonly far: Told<FarFacts> | null;
  /** What the server would answer for the name; null when no server was asked. */
  readonly truth: readonly string[] | null;
}

/**
 * Steps from FROM to TO in the order of a packet's way, each with what was seen. The first that is broken is named as what
 * breaks the connection: what comes after it mostly follows from it.
 */
export function explainTrace(input: TraceInput): TraceReport {
  const { question, near, nearHost } = input;
  const findings = near.ok ? explainKnown(input, near.facts) : explainSilent(nearHost, near);
  const steps = STEP_NAMES.map((step): TraceStep => ({
    name: step,
    ...(findings[step] ?? skipped(null, NOT_REACHED)),
  }));
  const { protocol } = question;
  const end = near.ok ? near.facts.endpoint : null;
  const first = steps.find(({ state }) => state === "broken");
  return {
    from: question.from ?? `host:${nearHost}`,
    to: question.to,
    protocol,
    port: question.port ?? end?.port ?? null,
    ok: first === undefined,
    broken: first?.name ?? null,
    steps,
  };
}

type Findings = Partial<Record<StepName, Finding>>;

function explainSilent(host: string, { why, hint }: Extract<Told<NearFacts>, { ok: false }>): Findings {
  return { from: broken(host, why, hint ?? `apollo host list; systemctl status apollo-agent   (on ${host})`) };
}

function explainKnown({ question, far, truth }: TraceInput, near: NearFacts): Findings {
  const end = near.endpoint;
  const begin: Findings = {
    from: explainFrom(near),
    name: explainName(question, near, truth),
    endpoint: explainEndpoint(question, near),
    wire: explainWire(near),
  };
  if (end === null) return begin;
  return {
    ...begin,
    route: explainRoute(near),
    policy: explainPolicyStep(near),
    link: explainLink(near),
    ...explainEnd(end, far, question.protocol),
    firewall: explainFirewall(near.connect, [
      { host: near.host, drops: near.drops },
      ...(far?.ok === true && far.facts.host !== near.host ? [{ host: far.facts.host, drops: far.facts.drops }] : []),
    ]),
    connect: explainConnect(near, end, question.protocol),
    packets: explainPackets(near, far),
  };
}

function explainEnd(end: End, far: Told<FarFacts> | null, protocol: "tcp" | "udp"): Findings {
  if (far === null) {
    const why = end.host === null ? "no host of the cluster is at the end" : "not asked: without a server";
    return { agent: skipped(end.host, why) };
  }
  const agent = explainAgent(end, far);
  if (!far.ok) return { agent };
  const { facts } = far;
  return {
    agent,
    block: explainBlock(end, facts),
    bridge: explainFarBridge(facts),
    container: explainContainer(end, facts),
    port: explainPort(end, facts, protocol),
    health: explainHealth(facts),
  };
}

function explainConnect(
  { connect, host, from, virtual, bridge }: NearFacts,
  end: End,
  protocol: "tcp" | "udp",
): Finding {
  if (connect === null) {
    return skipped(null, end.port === null ? "no port was asked about" : "FROM cannot be entered");
  }
  const { outcome, ms, cause } = connect;
  const to = formatEndpoint(virtual?.address ?? end.address, end.port ?? 0);
  if (outcome === "open") {
    return ok(null, protocol === "tcp" ? `${to} accepts` : `${to}: a datagram was not refused (UDP tells no more)`, ms);
  }
  const what = outcome === "silent" ? "no answer" : (cause ?? outcome);
  const [target, port] = [virtual?.address ?? end.address, end.port ?? 0];
  const watch =
    from.kind === "host"
      ? `tcpdump -ni any host ${target} and port ${port}   (on ${host})`
      : `tcpdump -ni ${from.wire ?? bridge.name} host ${target} and port ${port}   (on ${host})`;
  return broken(null, `${to}: ${what}`, watch, ms);
}

/** Small packets pass and large ones vanish without a word: senders keep on sending them. */
function explainPackets({ packets, host }: NearFacts, far: Told<FarFacts> | null): Finding {
  if (packets === null) return skipped(null, "not tried");
  const { small, large, bytes, passes } = packets;
  if (small !== "answered") return skipped(null, "no echo: ICMP is filtered, or nothing gets through");
  if (large === "answered") return ok(null, `${bytes} bytes arrive in one piece`);
  if (large === "too-big") return ok(null, `${bytes} bytes are too much, and senders are told`);
  if (large === "failed") return skipped(null, "large packets could not be tried");
  const upTo = passes === null ? "" : `; ${passes} bytes arrive`;
  const sides = [
    { at: host, drops: packets.drops },
    ...(far?.ok === true && far.facts.host !== host ? [{ at: far.facts.host, drops: far.facts.largeDrops }] : []),
  ];
  const found = sides.flatMap(({ at, drops }) => drops.map((drop) => ({ at, drop })))[0];
  if (found !== undefined) {
    return broken(
      found.at,
      `packets of ${bytes} bytes vanish${upTo}: ${name(found.drop)} drops them`,
      ruleCure(found.at, found.drop),
    );
  }
  const hint = `ip link set dev DEVICE mtu ${passes ?? 1280}   (on both hosts, or let ICMP type 3 through on the way)`;
  return broken(null, `packets of ${bytes} bytes vanish on the way (MTU black hole)${upTo}`, hint);
}
