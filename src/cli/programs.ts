import type { CniSurroundings } from "./run-cni.ts";
import { readCount } from "./read-count.ts";
import { VERSION } from "./version.ts";

/** What `apollo server` was told. Missing fields come from its config file, the environment or its defaults. */
export interface ServerFlags {
  readonly config?: string;
  readonly dataDir?: string;
  /** ADDRESS:PORT of the one HTTPS port. */
  readonly listen?: string;
  /** Address that agents reach this server by. */
  readonly advertise?: string;
  readonly range?: string;
  /** CIDR, "auto" or "off". */
  readonly range6?: string;
  readonly virtualRange?: string;
  readonly blockPrefix?: string;
  readonly datacenter?: string;
  readonly dnsDomain?: string;
  readonly containerDomain?: string;
  readonly ingressDomain?: string;
  /** auto, required or off. */
  readonly encryption?: string;
  /** CIDR texts with commas. */
  readonly trustedRanges?: string;
  /** Serves the API without a token, on loopback only. */
  readonly anonymous?: boolean;
  /** ADDRESS:PORT of Consul's API in plain HTTP, or "off". */
  readonly consulListen?: string;
  /** "off", "allow" or "deny". */
  readonly consulAcl?: string;
}

export interface AgentFlags {
  readonly dataDir?: string;
  readonly server?: string;
  /** Join token; needed once, a host that has joined keeps its own credential. */
  readonly token?: string;
  /** File that holds it: unlike an argument it is not in everyone's process list. */
  readonly tokenFile?: string;
  readonly name?: string;
  /** Address that other hosts reach this one by. */
  readonly address?: string;
  /** `key=value` each. */
  readonly label?: readonly string[];
  /** Joins in spite of a wrong clock, a doubled address, or what the machine found to be wrong with itself. */
  readonly force?: boolean;
  readonly enableScriptChecks?: boolean;
  readonly serviceTags?: string;
}

export interface LeaveFlags {
  readonly dataDir?: string;
  /** Stops instances that run here instead of refusing. */
  readonly containers?: boolean;
}

/** What `apollo discovery agent` was told. */
export interface DiscoveryFlags {
  readonly node?: string;
  readonly datacenter?: string;
  readonly domain?: string;
  readonly bind?: string;
  readonly client?: string;
  readonly server?: boolean;
  readonly bootstrap?: boolean;
  readonly bootstrapExpect?: string;
  readonly join?: readonly string[];
  readonly dataDir?: string;
  readonly clusterPort?: string;
  readonly serverPort?: string;
  readonly httpPort?: string;
  readonly dnsPort?: string;
  readonly configFile?: readonly string[];
  readonly configDir?: readonly string[];
  readonly token?: string;
  readonly tokenFile?: string;
  readonly enableScriptChecks?: boolean;
  readonly enableLocalScriptChecks?: boolean;
  readonly leaveOnTerminate?: boolean;
  readonly logLevel?: string;
}

/** Server and agent of one host in one process. */
export type UpFlags = ServerFlags & Pick<AgentFlags, "name" | "address" | "label">;

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
 * some that runs each second: machine code of both is 8 MB for nothing. What is really hot, DNS answers, is compiled within
 * seconds all the same.
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
