import type { CheckAnswer, CheckRunLimits, CheckRunner, CheckTarget } from "../ports/check-runner.ts";
import type { Engine } from "../ports/engine.ts";
import { checkDocker, checkOsService, checkScript } from "./command-check.ts";
import { checkHttp } from "./http-check.ts";
import { checkGrpc, checkH2ping } from "./http2-check.ts";
import { checkTcp, checkUdp } from "./socket-check.ts";

export interface HostCheckRunnerOptions {
  /** Null on a machine without one. */
  readonly engine: Pick<Engine, "exec"> | null;
  /** Whoever may register a check could else run any program here, with the rights of this process. */
  readonly allowsScript: (argv: readonly string[]) => boolean;
}

const SCRIPTS_OFF: CheckAnswer = {
  status: "critical",
  output:
    "Scripts are disabled on this host: start its agent with --enable-script-checks (APOLLO_SCRIPT_CHECKS=on) to run them",
};
const NO_ENGINE: CheckAnswer = {
  status: "critical",
  output: "Cannot run the check: this host has no container engine",
};

/** Runs checks on this machine. */
export class HostCheckRunner implements CheckRunner {
  readonly #options: HostCheckRunnerOptions;

  constructor(options: HostCheckRunnerOptions) {
    this.#options = options;
  }

  run(target: CheckTarget, limits: CheckRunLimits): Promise<CheckAnswer | null> {
    const { engine, allowsScript } = this.#options;
    switch (target.kind) {
      case "http":
        return checkHttp(target, limits);
      case "tcp":
        return checkTcp(target, limits);
      case "udp":
        return checkUdp(target, limits);
      case "grpc":
        return checkGrpc(target, limits);
      case "h2ping":
        return checkH2ping(target, limits);
      case "script":
        return allowsScript(target.argv) ? checkScript(target.argv, limits) : Promise.resolve(SCRIPTS_OFF);
      case "docker":
        if (engine === null) return Promise.resolve(NO_ENGINE);
        // A command in a container is what the container's own user could run, but whoever registers chooses the container.
        return target.declared || allowsScript(target.argv)
          ? checkDocker(engine, target, limits)
          : Promise.resolve(SCRIPTS_OFF);
      case "os-service":
        return checkOsService(target.name, limits);
    }
  }
}
