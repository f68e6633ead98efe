import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { BRIDGE } from "../network/plan-network.ts";
import type { NearFacts } from "../network/trace/trace-facts.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { NetInspector } from "../platform/ports/net-inspector.ts";
import type { AgentState } from "./agent-state.ts";
import { ownAddresses } from "./find-trace-end.ts";
import type { TraceEndWorld } from "./find-trace-end.ts";

export interface TraceWorld extends TraceEndWorld {
  readonly inspector: NetInspector;
  readonly clock: Clock;
  /** Address of the bridge, where this host's DNS answers; null while there is none. */
  readonly gateway: () => Ipv4 | null;
}

export function requireHost(state: AgentState): string {
  if (state.identity !== null) return state.identity.hostName;
  throw new AppError("unavailable", "Cannot trace: this host has not joined a cluster yet", {
    hint: "apollo host list",
  });
}

/** The bridge that containers' packets go over. */
export async function seeBridge({ inspector, state }: TraceWorld): Promise<NearFacts["bridge"]> {
  const bridge = (await inspector.links()).find(({ name }) => name === BRIDGE);
  const own = ownAddresses(state).at(-1);
  return {
    there: bridge !== undefined,
    up: bridge?.up ?? false,
    gateway: own === undefined || (bridge?.addresses.includes(own) ?? false),
  };
}

/** Those that say something about packets. */
export function traceConditions(state: AgentState): { code: string; text: string; hint: string }[] {
  return state
    .conditions()
    .slice(0, 100)
    .map(({ code, text, hint }) => ({ code, text: text.slice(0, 2000), hint: hint.slice(0, 2000) }));
}

/** Nothing, for what the host cannot tell now: the rest is worth telling. */
export function nothing(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
