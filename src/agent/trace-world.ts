import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { NearFacts } from "../network/trace/trace-facts.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { NetInspector } from "../platform/ports/net-inspector.ts";
import type { AgentState } from "./agent-state.ts";
import type { TraceEndWorld } from "./find-trace-end.ts";
import type { TraceNetwork } from "./trace-networks.ts";

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

/** The bridge that packets of the network's containers go over. */
export async function seeBridge(
  { inspector }: Pick<TraceWorld, "inspector">,
  { name: network, bridge: name, layer2, gateway }: TraceNetwork,
): Promise<NearFacts["bridge"]> {
  const found = (await inspector.links()).find((link) => link.name === name);
  const there = found !== undefined;
  const held = gateway === null || (found?.addresses.includes(gateway) ?? false);
  return { name, network, layer2, there, up: found?.up ?? false, gateway: held };
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
