import type { AgentFlags } from "../agent/agent-config.ts";
import type { LeaveFlags } from "../agent/leave-command.ts";
import type { DiscoveryFlags } from "../discovery-agent/discovery-config.ts";
import type { ServerFlags } from "../server/main.ts";
import type { UpFlags } from "../up/main.ts";
import type { CniSurroundings } from "./run-cni.ts";
import { readCount } from "./read-count.ts";
import { VERSION } from "./version.ts";

export interface DemoFlags {
  /** Runs the tour and ends, instead of leaving the lab up until Ctrl-C. */
  readonly once?: boolean;
  readonly hosts?: string;
}

/**
 * The programs in the binary. They run until `signal` aborts (SIGINT, SIGTERM) and then end by themselves; an AppError
 * becomes a message and an exit code.
 */
export interface ProgramEntries {
  readonly runServer: (flags: ServerFlags, signal: AbortSignal) => Promise<void>;
  readonly runAgent: (flags: AgentFlags, signal: AbortSignal) => Promise<void>;
  /** Takes all that the agent made off this machine; `say` gets a line for each thing done. */
  readonly leaveHost: (
    flags: LeaveFlags,
    environment: Readonly<Record<string, string | undefined>>,
    say: (line: string) => void,
  ) => Promise<void>;
  readonly runDiscoveryAgent: (flags: DiscoveryFlags, signal: AbortSignal) => Promise<void>;
  readonly runUp: (flags: UpFlags, signal: AbortSignal) => Promise<void>;
  /** The rest of the command line after `apollo lab`; resolves with the exit code. */
  readonly runLab: (argv: readonly string[], signal: AbortSignal) => Promise<number>;
  /** One call of the CNI plugin; resolves with the exit code. */
  readonly runCni: (around: CniSurroundings) => Promise<number>;
  readonly runDemo: (flags: DemoFlags, signal: AbortSignal) => Promise<number>;
}

/**
 * How many times more often than usual a function runs before it is compiled. An agent has much code that runs once, and
 * some that runs each second: machine code of both is 8 MB for nothing. What is really hot is compiled all the same: a DNS
 * answer takes 2.2 µs instead of 1.7 for the first three seconds of a flood, and 1.5 from then on as without this.
 */
const AGENT_JIT_SCALE = 20;

/** Imports each program only when it is asked for, so that `apollo ps` does not load a server. */
export const programs: ProgramEntries = {
  runServer: async (flags, signal) => (await import("../server/main.ts")).runServer(flags, signal, VERSION),
  runAgent: async (flags, signal) => {
    Bun.unsafe.setJITPolicy(AGENT_JIT_SCALE);
    return (await import("../agent/agent-command.ts")).runHostAgent(flags, signal, VERSION);
  },
  leaveHost: async (flags, environment, say) =>
    (await import("../agent/leave-command.ts")).leaveHost(flags, environment, say),
  runDiscoveryAgent: async (flags, signal) =>
    (await import("../discovery-agent/main.ts")).runDiscoveryAgent(flags, signal, VERSION),
  runUp: async (flags, signal) => (await import("../up/main.ts")).runUp(flags, signal, VERSION),
  runLab: async (argv, signal) => (await import("../lab/lab-command.ts")).runLab(argv, signal),
  runCni: async (around) => (await import("./cni-program.ts")).runCniProgram(around),
  runDemo: async (flags, signal) => {
    const [{ runDemo }, { ownBinary }] = await Promise.all([import("../lab/demo.ts"), import("../lab/own-binary.ts")]);
    const hosts = flags.hosts === undefined ? {} : { hosts: readCount(flags.hosts, "hosts") };
    return runDemo({
      ...hosts,
      once: flags.once === true,
      binary: ownBinary(),
      print: (line) => console.log(line),
      signal,
    });
  },
};
