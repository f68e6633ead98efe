import type { Told } from "../trace/trace-facts.ts";
import type { DoctorFinding, DoctorHost, DoctorReport, HostFacts } from "./doctor-facts.ts";
import { TRIED_PORTS, UNDERLAY_PORTS } from "./doctor-facts.ts";

export interface DoctorInput {
  readonly hosts: readonly DoctorHost[];
  /** Whom each host looked at. */
  readonly pairs: ReadonlyMap<string, readonly DoctorHost[]>;
  readonly told: ReadonlyMap<string, Told<HostFacts>>;
  /** How far each host's clock is ahead of the asker's, and how exact that is, both ms; missing: did not answer. */
  readonly skews: ReadonlyMap<string, { readonly skewMs: number; readonly errorMs: number }>;
}

/** Beyond a second logs of two hosts cannot be read side by side. */
export const SKEW_WARNING_MS = 1000;
/** What compares times of two hosts (versions, events, tokens of applications) goes wrong. */
export const SKEW_ERROR_MS = 60_000;

/** All findings: errors first, then warnings, by host and check. What is well is there too, once a check and host. */
export function explainDoctor(input: DoctorInput): DoctorReport {
  const { hosts, pairs, told } = input;
  const local = [...told].flatMap(([host, answer]) => explainHost(host, answer));
  const findings = [
    ...explainDuplicates(hosts),
    ...explainClocks(input),
    ...explainVersions(input),
    ...local,
    ...explainLinks(input),
    ...explainPorts(input),
  ];
  const rank = { error: 0, warning: 1, ok: 2 } as const;
  return {
    ok: findings.every(({ state }) => state === "ok"),
    hosts: hosts.length,
    pairs: {
      checked: [...pairs.values()].reduce((sum, peers) => sum + peers.length, 0),
      total: hosts.length * (hosts.length - 1),
    },
    findings: findings.toSorted(
      (a, b) =>
        rank[a.state] - rank[b.state] ||
        compare(a.host, b.host) ||
        compare(a.check, b.check) ||
        compare(a.peer, b.peer),
    ),
  };
}

function compare(a: string | null, b: string | null): number {
  const [left, right] = [a ?? "", b ?? ""];
  return left < right ? -1 : left > right ? 1 : 0;
}

function explainHost(host: string, told: Told<HostFacts>): readonly DoctorFinding[] {
  if (told.ok) return told.facts.findings.map((finding) => ({ host, peer: null, ...finding }));
  return [
    finding({
      host,
      check: "agent",
      state: "error",
      text: told.why,
      hint: told.hint ?? `systemctl status apollo-agent   (on ${host})`,
    }),
  ];
}

function explainDuplicates(hosts: readonly DoctorHost[]): readonly DoctorFinding[] {
  return hosts.flatMap(({ name, address }, at) => {
    const other = hosts.slice(0, at).find((each) => each.address === address);
    if (other === undefined) return [];
    const text = `${address} is also the address of ${other.name}`;
    return [
      finding({
        host: name,
        peer: other.name,
        check: "address",
        state: "error",
        text,
        hint: `apollo agent --address ADDRESS   (on one of them)`,
      }),
    ];
  });
}

/** Against the middle of all clocks: the asker's own may be the one that is wrong. */
function explainClocks({ skews }: DoctorInput): readonly DoctorFinding[] {
  const sorted = [...skews.values()].map(({ skewMs }) => skewMs).toSorted((a, b) => a - b);
  const middle = sorted.length < 3 ? 0 : (sorted[Math.floor(sorted.length / 2)] ?? 0);
  const found = [...skews].flatMap(([host, { skewMs, errorMs }]) => {
    const off = Math.max(0, Math.abs(skewMs - middle) - errorMs);
    if (off < SKEW_WARNING_MS) return [];
    const state = off >= SKEW_ERROR_MS ? "error" : "warning";
    const text = `Its clock is ${(off / 1000).toFixed(1)} s ${skewMs > middle ? "ahead" : "behind"}`;
    return [finding({ host, check: "clock", state, text, hint: `timedatectl set-ntp true   (on ${host})` })];
  });
  return found.length > 0 || skews.size === 0
    ? found
    : [finding({ host: null, check: "clock", state: "ok", text: "all agree", hint: null })];
}

function explainVersions({ hosts }: DoctorInput): readonly DoctorFinding[] {
  const known = hosts.filter(({ agentVersion }) => agentVersion !== null);
  const [newest] = [...new Set(known.map(({ agentVersion }) => agentVersion ?? ""))].toSorted().toReversed();
  if (newest === undefined) return [];
  const others = known.filter(({ agentVersion }) => agentVersion !== newest);
  const text = `all agents are ${newest}`;
  if (others.length === 0) return [finding({ host: null, check: "version", state: "ok", text, hint: null })];
  return others.map(({ name: host, agentVersion }) => {
    const differs = `Its agent is ${agentVersion}, others are ${newest}`;
    return finding({ host, check: "version", state: "warning", text: differs, hint: `Update the agent of ${host}` });
  });
}

function explainLinks({ pairs, told }: DoctorInput): readonly DoctorFinding[] {
  return [...pairs].flatMap(([host, peers]) => {
    const answer = told.get(host);
    if (answer?.ok !== true || peers.length === 0) return [];
    const found = peers.flatMap(({ name }) => explainLink(answer.facts, name, told.get(name)));
    if (found.length > 0) return found;
    return [
      finding({
        host,
        check: "link",
        state: "ok",
        text: `${peers.length} of ${peers.length} links up in their best mode`,
        hint: null,
      }),
    ];
  });
}

function explainLink(
  { host, links }: HostFacts,
  peer: string,
  other: Told<HostFacts> | undefined,
): readonly DoctorFinding[] {
  const link = links.find((each) => each.peer === peer);
  const base = { host, peer, check: "link" } as const;
  const hint = `apollo net links --host ${host}`;
  if (link === undefined)
    return [finding({ ...base, state: "warning", text: `It knows no link to ${peer} yet`, hint })];
  if (link.up === false || link.mode === "none") {
    return [
      finding({
        ...base,
        state: "error",
        text: `${peer} is not reached: ${link.why}`,
        hint: `Let UDP 6783, 6784 and 6785 pass between ${host} and ${peer}`,
      }),
    ];
  }
  const found: DoctorFinding[] = [];
  if (link.lossPercent >= LOSS_WARNING_PERCENT) {
    found.push(
      finding({ ...base, state: "warning", text: `${link.lossPercent} % of probes to ${peer} are lost`, hint }),
    );
  }
  const overhead = OVERHEAD_BYTES[link.mode] ?? 0;
  if (link.mtu !== null && link.deviceMtu !== null && link.mtu < link.deviceMtu - overhead) {
    const text = `The way to ${peer} carries ${link.mtu + overhead} bytes, the device ${link.deviceMtu}: what is larger gets lost`;
    found.push(
      finding({
        ...base,
        check: "mtu",
        state: "warning",
        text,
        hint: `Raise the MTU on the way, or lower the device's to ${link.mtu + overhead} on both hosts`,
      }),
    );
  }
  const back = other?.ok === true ? other.facts.links.find((each) => each.peer === host) : undefined;
  if (back !== undefined && back.mtu !== null && link.mtu !== null && back.mode === link.mode && link.mtu < back.mtu) {
    const text = `${link.mtu} bytes pass to ${peer} and ${back.mtu} back`;
    found.push(
      finding({
        ...base,
        check: "mtu",
        state: "warning",
        text,
        hint: "Compare the devices' MTU on both hosts: ip link",
      }),
    );
  }
  return found;
}

const LOSS_WARNING_PERCENT = 5;
/** What a mode's own headers take of the way's bytes. */
const OVERHEAD_BYTES: Readonly<Record<string, number>> = { direct: 0, vxlan: 50, wireguard: 60 };

/** A port that the other could listen on, and did not hear us: something on the way drops it. */
function explainPorts({ pairs, told }: DoctorInput): readonly DoctorFinding[] {
  return [...pairs].flatMap(([host, peers]) => {
    if (told.get(host)?.ok !== true) return [];
    const tried = peers.flatMap(({ name }) => {
      const answer = told.get(name);
      return answer?.ok === true && pairs.get(name)?.some((each) => each.name === host) === true ? [answer.facts] : [];
    });
    const missing = tried.flatMap((facts) =>
      TRIED_PORTS.filter(
        (port) =>
          facts.exchange.opened.includes(port) &&
          !facts.exchange.heard.some((each) => each.from === host && each.port === port),
      ).map((port) => ({ peer: facts.host, port })),
    );
    const ways = missing.map(({ peer, port }) => {
      const text = `UDP ${port} (${UNDERLAY_PORTS[port as keyof typeof UNDERLAY_PORTS]}) does not arrive at ${peer}: links cannot change to it`;
      return finding({
        host,
        peer,
        check: "udp",
        state: "warning",
        text,
        hint: `Let UDP ${port} pass from ${host} to ${peer} (firewall of ${peer}, or between them)`,
      });
    });
    if (ways.length > 0 || tried.length === 0) return ways;
    return [
      finding({
        host,
        check: "udp",
        state: "ok",
        text: `UDP ${TRIED_PORTS.join(" and ")} arrive at ${tried.length} of ${tried.length}`,
        hint: null,
      }),
    ];
  });
}

function finding({
  peer = null,
  ...rest
}: Omit<DoctorFinding, "peer"> & { readonly peer?: string | null }): DoctorFinding {
  return { ...rest, peer };
}
