import { z } from "zod";
import { chooseParty } from "../network/policy/choose-parties.ts";
import { farQuestionShape, traceQuestionShape } from "../network/trace/trace-facts.ts";
import { parse } from "./attach-queries.ts";
import { AppError } from "../model/error.ts";
import type { AgentState } from "./agent-state.ts";
import { findContainerNamed } from "./find-trace-end.ts";
import { knownParties } from "./policy-input.ts";
import { traceFar } from "./trace-far.ts";
import { findAside, traceNear } from "./trace-near.ts";
import { requireHost } from "./trace-world.ts";
import type { TraceWorld } from "./trace-world.ts";

const locateShape = z.strictObject({ from: z.string().min(1).max(512) });
const asideShape = z.strictObject({ name: z.string().min(1).max(512) });

/** Answers `trace-here`, `trace-locate`, `trace-near`, `trace-far` and `trace-aside`: the pieces that `runTrace` puts together. */
export function registerTraceQueries(world: TraceWorld): void {
  const { queries } = world.state;
  queries.register("trace-here", async () => ({ host: requireHost(world.state) }));
  queries.register("trace-locate", async (fields) => ({ host: await locate(world, parse(locateShape, fields).from) }));
  queries.register("trace-near", async (fields) => traceNear(world, parse(traceQuestionShape, fields)));
  queries.register("trace-far", async (fields) => traceFar(world, parse(farQuestionShape, fields)));
  queries.register("trace-aside", async (fields) => findAside(world, parse(asideShape, fields).name));
}

/** Name of the host that FROM is on. @throws AppError `not-found`. */
async function locate(world: TraceWorld, text: string): Promise<string> {
  const { state } = world;
  const own = requireHost(state);
  try {
    const { addresses } = chooseParty(text, knownParties(state));
    return hostOf(state, addresses) ?? own;
  } catch (error) {
    if (error instanceof AppError && (await findContainerNamed(world, text)) !== null) return own;
    throw error;
  }
}

function hostOf(state: AgentState, addresses: readonly string[]): string | null {
  const own = state.identity?.hostName;
  const holders = state.holders().filter(({ address }) => addresses.includes(address));
  // Of several, one that is here is the quickest to ask.
  const holder = holders.find(({ host }) => host === own) ?? holders[0];
  if (holder !== undefined) return holder.host;
  const host = state.hosts.find(({ address }) => addresses.includes(address));
  return host?.name ?? null;
}
