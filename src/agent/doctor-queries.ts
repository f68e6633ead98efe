import type { HostAddress } from "../model/ip6.ts";
import { type HostFacts, type LocalFinding, TRIED_PORTS, doctorQuestionShape } from "../network/doctor/doctor-facts.ts";
import { explainMachine } from "../network/doctor/explain-machine.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HostExaminer, PortExchange } from "../platform/ports/host-examiner.ts";
import type { AgentState } from "./agent-state.ts";
import { parse } from "./attach-queries.ts";
import { requireHost } from "./trace-world.ts";

export interface DoctorQueriesOptions {
  readonly state: AgentState;
  readonly examiner: HostExaminer;
  readonly exchange: PortExchange;
  readonly clock: Clock;
}

/** Conditions that say what another check of the doctor says already, or nothing about the network. */
const TOLD_OTHERWISE: ReadonlySet<string> = new Set([
  "link-degraded",
  "peer-unreachable",
  "range-clash",
  "engine-down",
]);

/** Answers `doctor`: looks at this machine while it exchanges datagrams with the peers that it is told. */
export function registerDoctorQueries(options: DoctorQueriesOptions): void {
  const { state, examiner, exchange, clock } = options;
  state.queries.register("doctor", async (fields): Promise<HostFacts> => {
    const nowMs = clock.nowMs();
    const host = requireHost(state);
    const { token, peers, forMs } = parse(doctorQuestionShape, fields);
    const [exchanged, machine] = await Promise.all([
      exchange.exchange({ token, self: host, peers, ports: TRIED_PORTS, forMs }),
      examiner.examine(),
    ]);
    const address = addressOf(state, host);
    const { range = null, range6 = null } = state.identity?.settings ?? {};
    const peer = peers[0]?.address ?? null;
    const own = explainMachine({ machine, host, address, range, range6, peer, running: true });
    return {
      host,
      nowMs,
      address,
      findings: [...own, ...conditionFindings(state)].slice(0, 200),
      links: linksOf(state),
      exchange: { opened: [...exchanged.opened], heard: [...exchanged.heard] },
    };
  });
}

function addressOf({ hosts }: AgentState, own: string): HostAddress | null {
  return hosts.find(({ name }) => name === own)?.address ?? null;
}

function linksOf(state: AgentState): HostFacts["links"] {
  const devices = new Map(state.linkRows.map(({ peer, deviceMtu }) => [peer, deviceMtu]));
  return state.links.map(({ peer, mode, up, rttMs, lossPercent, mtu, why }) => {
    return { peer, mode, up, rttMs, lossPercent, mtu, why, deviceMtu: devices.get(peer) ?? null };
  });
}

function conditionFindings(state: AgentState): readonly LocalFinding[] {
  return state.conditions().flatMap(({ code, severity, text, hint }): readonly LocalFinding[] => {
    if (severity === "info" || TOLD_OTHERWISE.has(code)) return [];
    return [{ check: code.slice(0, 64), state: severity, text: text.slice(0, 2000), hint: hint.slice(0, 2000) }];
  });
}
