import type { Problem } from "../model/deployment.ts";
import type { AppId } from "../model/ids.ts";
import type { Refusal, RefusalStage } from "./host-room.ts";

/** Hosts listed with their reason; of a larger cluster the message gives the numbers. */
export const PROBLEM_HOSTS_MAX = 100;

const STAGES: readonly RefusalStage[] = ["state", "constraint", "cpu", "memory", "disk", "addresses"];

const CODES: Readonly<Record<RefusalStage, Problem["code"]>> = {
  state: "no-host",
  constraint: "constraint",
  cpu: "no-capacity",
  memory: "no-capacity",
  disk: "no-capacity",
  addresses: "full-block",
};

const PHRASES: Readonly<Record<RefusalStage, string>> = {
  state: "not taking instances",
  constraint: "ruled out by constraints",
  cpu: "short of cpu",
  memory: "short of memory",
  disk: "short of disk",
  addresses: "out of addresses",
};

export interface PlacementProblemInput {
  readonly appId: AppId;
  /** Instances without a host. */
  readonly count: number;
  /** Host names, sorted, and for each what stopped the instance there. */
  readonly names: readonly string[];
  readonly refusals: readonly Refusal[];
}

/** Sums up refusals. The code is that of the host which came furthest: it is nearest to taking the instance. */
export function placementProblem({ appId, count, names, refusals }: PlacementProblemInput): Problem {
  const totals = new Map<RefusalStage, number>();
  for (const { stage } of refusals) totals.set(stage, (totals.get(stage) ?? 0) + 1);
  const reached = STAGES.findLast((stage) => totals.has(stage)) ?? "state";
  const parts = STAGES.flatMap((stage) => {
    const total = totals.get(stage);
    return total === undefined ? [] : [`${total} ${PHRASES[stage]}`];
  });
  const what = count === 1 ? "1 instance" : `${count} instances`;
  const why = names.length === 0 ? "there is no host" : `of ${formatHosts(names.length)}, ${parts.join(", ")}`;
  return {
    appId,
    code: CODES[reached],
    message: `Cannot place ${what} of "${appId}": ${why}`,
    count,
    hosts: names.slice(0, PROBLEM_HOSTS_MAX).map((host, at) => ({ host, reason: refusals[at]?.reason ?? "" })),
    retryAtMs: null,
  };
}

function formatHosts(count: number): string {
  return count === 1 ? "1 host" : `${count} hosts`;
}
