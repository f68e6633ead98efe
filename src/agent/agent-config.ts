import { splitTags } from "../discovery/registration/parse-service-metadata.ts";
import { AppError } from "../model/error.ts";
import { parseHostName } from "../model/ids.ts";
import { type HostAddress, parseHostAddress } from "../model/ip6.ts";

/** Everything an agent has to know to start; made once, from defaults, environment and flags. */
export interface AgentConfig {
  readonly name: string;
  /** Address that other hosts reach this one by. */
  readonly address: HostAddress;
  readonly labels: Readonly<Record<string, string>>;
  readonly dataDir: string;
  readonly dockerSocket: string;
  /** Off: all packets take the kernel's own way through bridge, netfilter and routing. */
  readonly fastPath: boolean;
  /** Whoever may register checks may run programs on this host with them. */
  readonly scriptChecks: boolean;
  readonly consul: ConsulAccess;
  /** Tags that all services of containers on this host get. */
  readonly serviceTags: readonly string[];
  readonly logLevel: "debug" | "info" | "warn" | "error";
  /** WireGuard keys are changed after so many days; 0: only when asked. */
  readonly keyRotationDays: number;
  /** Where and with what to join; null fields once the host has joined. */
  readonly serverUrl: string | null;
  readonly token: string | null;
}

/**
 * Who is served Consul's API by the agent: nobody, this machine alone, or also the containers of this host, to read or to change
 * things as well. Containers' rights count while Consul's ACLs are off.
 */
export type ConsulAccess = (typeof CONSUL_ACCESSES)[number];
const CONSUL_ACCESSES = ["off", "host", "read", "write"] as const;

/** What the command line gives. */
export interface AgentFlags {
  readonly dataDir?: string;
  readonly server?: string;
  readonly token?: string;
  /** File that holds the token: unlike an argument it is not in everyone's process list. */
  readonly tokenFile?: string;
  readonly name?: string;
  readonly address?: string;
  /** `key=value` each. */
  readonly label?: readonly string[];
  readonly consul?: string;
  /** False with `--no-fast-path`. */
  readonly fastPath?: boolean;
  /** Joins though the machine would be refused for what it found out about itself. */
  readonly force?: boolean;
  readonly enableScriptChecks?: boolean;
  /** As `SERVICE_TAGS`: commas between them, `\\,` for a comma. */
  readonly serviceTags?: string;
}

/** What this machine says of itself, where nothing else does. */
export interface AgentDefaults {
  readonly hostName: string;
  /** Address of the default route's device; null when there is none. */
  readonly address: HostAddress | null;
}

export const DEFAULT_AGENT_DATA_DIR = "/var/lib/apollo/agent";
const DEFAULT_DOCKER_SOCKET = "/var/run/docker.sock";
const DEFAULT_SERVER_PORT = "8443";
const KEY_ROTATION_DAYS = 30;
const KEY_ROTATION_DAYS_MAX = 3650;
const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/** Later sources win: machine, environment (APOLLO_…), flags. @throws AppError `invalid` naming the setting. */
export function parseAgentConfig(
  flags: AgentFlags,
  environment: Readonly<Record<string, string | undefined>>,
  defaults: AgentDefaults,
): AgentConfig {
  const setting = (flag: string | undefined, variable: string): string | null =>
    flag ?? (environment[variable] || null);
  const address = setting(flags.address, "APOLLO_ADDRESS") ?? defaults.address;
  if (address === null) {
    throw new AppError(
      "invalid",
      "Cannot start the agent: this machine has no default route to take its address from",
      {
        hint: "Pass --address with the address that other hosts reach this one by",
      },
    );
  }
  const server = setting(flags.server, "APOLLO_SERVER");
  return {
    name: parseHostName(setting(flags.name, "APOLLO_NAME") ?? (defaults.hostName.split(".")[0] || "host")),
    address: parseHostAddress(address),
    labels: parseLabels(flags.label ?? (environment["APOLLO_LABELS"] ?? "").split(",").filter((text) => text !== "")),
    dataDir: setting(flags.dataDir, "APOLLO_DATA_DIR") ?? DEFAULT_AGENT_DATA_DIR,
    dockerSocket: parseSocket(environment["APOLLO_DOCKER_SOCKET"] || DEFAULT_DOCKER_SOCKET),
    fastPath: (flags.fastPath ?? true) && parseSwitch("APOLLO_FAST_PATH", environment["APOLLO_FAST_PATH"] || "on"),
    scriptChecks:
      flags.enableScriptChecks === true ||
      parseSwitch("APOLLO_SCRIPT_CHECKS", environment["APOLLO_SCRIPT_CHECKS"] || "off"),
    consul: parseConsulAccess(setting(flags.consul, "APOLLO_CONSUL") ?? "read"),
    serviceTags: splitTags(setting(flags.serviceTags, "APOLLO_SERVICE_TAGS") ?? ""),
    logLevel: parseLogLevel(environment["APOLLO_LOG_LEVEL"] || "info"),
    keyRotationDays: parseDays(environment["APOLLO_KEY_ROTATION_DAYS"] || String(KEY_ROTATION_DAYS)),
    serverUrl: server === null ? null : parseServerUrl(server),
    token: setting(flags.token, "APOLLO_TOKEN"),
  };
}

/** Reads `https://host[:port]` or `host[:port]`; the port is 8443 by default. */
export function parseServerUrl(text: string): string {
  const withScheme = /^[a-z]+:\/\//i.test(text) ? text : `https://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : null;
  if (
    url === null ||
    url.protocol !== "https:" ||
    url.hostname === "" ||
    (url.pathname !== "/" && url.pathname !== "")
  ) {
    throw new AppError("invalid", `Cannot use server "${text}": it must look like https://ADDRESS:PORT`, {
      hint: `The port is ${DEFAULT_SERVER_PORT} unless the server was told otherwise`,
    });
  }
  const given = /:\d+\/?$/.test(withScheme);
  return `https://${url.hostname}:${given ? url.port || "443" : DEFAULT_SERVER_PORT}`;
}

function parseLabels(texts: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new AppError("invalid", `Cannot use label "${text}": it must look like key=value`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

function parseSwitch(variable: string, text: string): boolean {
  if (text !== "on" && text !== "off")
    throw new AppError("invalid", `Cannot use ${variable} "${text}": it must be on or off`);
  return text === "on";
}

function parseConsulAccess(text: string): ConsulAccess {
  const access = CONSUL_ACCESSES.find((known) => known === text);
  if (access !== undefined) return access;
  throw new AppError(
    "invalid",
    `Cannot serve Consul's API to "${text}": it must be one of ${CONSUL_ACCESSES.join(", ")}`,
    {
      hint: "host: this machine; read, write: also the containers on it",
    },
  );
}

function parseSocket(text: string): string {
  const path = text.replace(/^unix:\/\//, "");
  if (!path.startsWith("/")) throw new AppError("invalid", `Cannot use Docker socket "${text}": it must be a path`);
  return path;
}

function parseDays(text: string): number {
  const days = Number(text);
  if (/^\d{1,4}$/.test(text) && days <= KEY_ROTATION_DAYS_MAX) return days;
  throw new AppError("invalid", `Cannot rotate keys every "${text}" days: it must be 0 to ${KEY_ROTATION_DAYS_MAX}`, {
    hint: "0 changes them only when asked: apollo net rotate-keys",
  });
}

function parseLogLevel(text: string): AgentConfig["logLevel"] {
  const level = LOG_LEVELS.find((known) => known === text);
  if (level === undefined)
    throw new AppError("invalid", `Cannot use log level "${text}": it must be one of ${LOG_LEVELS.join(", ")}`);
  return level;
}
