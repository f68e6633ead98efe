import { HostChecks } from "../discovery/health/host-checks.ts";
import type { LocalHealth } from "../discovery/health/local-health.ts";
import type { HostCheckResult } from "../model/host-check.ts";
import type { CheckRunner } from "../platform/ports/check-runner.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Random } from "../platform/ports/random.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import { Limiter } from "./limiter.ts";

export interface ChecksPartOptions {
  readonly state: AgentState;
  readonly runner: CheckRunner;
  readonly clock: Clock;
  readonly random: Random;
  readonly local: LocalHealth;
}

/** Probes mostly wait; this bounds sockets when hundreds of targets hang. Programs cost the host more. */
const PROBES_AT_ONCE = 128;
const PROGRAMS_AT_ONCE = 8;

/** Runs the checks that clients registered on this host and those that its containers declare. No server is needed for it. */
export function createChecksPart(options: ChecksPartOptions): AgentPart {
  return { name: "checks", run: (signal) => runChecks(options, signal) };
}

async function runChecks(
  { state, runner, clock, random, local }: ChecksPartOptions,
  signal: AbortSignal,
): Promise<void> {
  const deps = { clock, random, local, runner: limited(runner) };
  const registered = new HostChecks({ ...deps, onResult: (id, result) => state.setCheckResult(id, result) });
  const declared = new HostChecks({ ...deps, onResult: (id, result) => state.setContainerResult(id, result) });
  const follow = (): void => registered.set(state.checks.values());
  const followContainers = (): void => declared.set(state.containerChecks.values());
  const stops = [state.on("checks", follow), state.on("container-checks", followContainers)];
  const hear = (result: HostCheckResult): void => declared.report(result);
  state.checkReporters.add(hear);
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => end());
  if (signal.aborted) end();
  else {
    follow();
    followContainers();
  }
  await ended;
  for (const stop of stops) stop();
  state.checkReporters.delete(hear);
  await Promise.all([registered.close(), declared.close()]);
}

function limited(runner: CheckRunner): CheckRunner {
  const probes = new Limiter(PROBES_AT_ONCE);
  const programs = new Limiter(PROGRAMS_AT_ONCE);
  return {
    run: (target, limits) => {
      const isProgram = target.kind === "script" || target.kind === "docker" || target.kind === "os-service";
      return (isProgram ? programs : probes).run(() => runner.run(target, limits));
    },
  };
}
