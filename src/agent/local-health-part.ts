import { type LocalHealth, type LocalHealthSample, SCORE_SHOWN } from "../discovery/health/local-health.ts";
import type { Condition } from "../model/wire.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

/** Watches how well this host serves its own agent, and says so when it does not. */
export function createLocalHealthPart(options: { readonly state: AgentState; readonly local: LocalHealth }): AgentPart {
  const { state, local } = options;
  return {
    name: "local-health",
    run: (signal) => {
      local.onChange((sample) => state.setConditions("local-health", conditionsOf(sample)));
      return local.run(signal);
    },
  };
}

function conditionsOf({ lagMs, score }: LocalHealthSample): readonly Condition[] {
  if (score < SCORE_SHOWN) return [];
  return [
    {
      code: "host-starved",
      severity: "warning",
      text: `The agent of this host got no processor time for ${(lagMs / 1000).toFixed(1)} s (local health ${score} of 8): its checks wait longer before they condemn`,
      hint: "Look for what uses the processors: apollo ps, or top on the host",
    },
  ];
}
