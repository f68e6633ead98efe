/** What `apollo discovery agent` was told: Consul's configuration files, in HCL or JSON, then flags over them. */
import { z } from "zod";
import type { RateLimits } from "../api/consul/limit-rate.ts";
import { parseDuration } from "../discovery/registry/parse-duration.ts";
import type { ConsulAcl } from "../model/consul.ts";
import { AppError } from "../model/error.ts";
import { parseHostName } from "../model/ids.ts";
import { gatherBlocks } from "./gather-blocks.ts";
import { parseWatch, type Watch } from "./parse-watch.ts";
import { parseHcl } from "../model/parse-hcl.ts";
import { isIpv4, type Ipv4, parseIpv4 } from "../model/ip.ts";

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

/** A service or check as Consul's agent API takes it. */
export type Definition = Readonly<Record<string, unknown>>;

export interface DiscoveryConfig {
  readonly node: string;
  readonly datacenter: string;
  readonly domain: string;
  /** Address that other processes of the cluster reach this one by. */
  readonly bind: Ipv4;
  /** Address that HTTP and DNS listen on. */
  readonly client: Ipv4;
  readonly server: boolean;
  /** Begins a cluster, whoever else is there. */
  readonly bootstrap: boolean;
  /** How many servers there are to be; 0: not said. */
  readonly bootstrapExpect: number;
  /** Addresses of servers, each `https://HOST:PORT`; tried in turn. */
  readonly join: readonly string[];
  readonly dataDir: string;
  /** Of the cluster's own protocol. */
  readonly clusterPort: number;
  /** What several servers agree over. */
  readonly serverPort: number;
  readonly httpPort: number;
  readonly dnsPort: number;
  readonly token: string | null;
  readonly scripts: "off" | "local" | "all";
  readonly leaveOnTerminate: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly services: readonly Definition[];
  readonly checks: readonly Definition[];
  readonly watches: readonly Watch[];
  readonly acl: ConsulAcl;
  /** Shown with the definitions of files; null for none. */
  readonly definitionsToken: string | null;
  /** Requests of one address under way at once; 0 for any number, null for the usual limit. */
  readonly clientMax: number | null;
  /** Requests a second that the server takes from all clients together; null for any number. */
  readonly rates: RateLimits | null;
  /** Members that are down for so long are removed. */
  readonly reapAfterMs: number;
}

/** What this machine says of itself. */
export interface DiscoveryMachine {
  readonly hostName: string;
  readonly homeDir: string;
}

/** Consul's own port for members is taken, so that its users' firewalls fit. */
export const CLUSTER_PORT = 8301;
/** Consul's, too. */
const SERVER_PORT = 8300;
const BOOTSTRAP_EXPECT_MAX = 9;
const HTTP_PORT = 8500;
const DNS_PORT = 8600;
/** As in Consul, and not less than this: whoever is away for a night is to be the same member in the morning. */
const RECONNECT_TIMEOUT = "72h";
const RECONNECT_MS_MIN = 8 * 3_600_000;
const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

const text = z.string().min(1).max(1024);
const port = z.number().int().min(1).max(65_535);
/** Requests a second; -1, as in Consul, is no limit. */
const rate = z.union([z.literal(-1), z.number().positive().max(1_000_000)]);
const definition = z.record(z.string(), z.unknown());
const fileSchema = z
  .strictObject({
    node_name: text,
    datacenter: text,
    domain: text,
    bind_addr: text,
    client_addr: text,
    server: z.boolean(),
    bootstrap: z.boolean(),
    bootstrap_expect: z.number().int().min(0).max(BOOTSTRAP_EXPECT_MAX),
    start_join: z.array(text).max(64),
    retry_join: z.array(text).max(64),
    data_dir: text,
    ports: z.strictObject({ http: port, dns: port, serf_lan: port, server: port }).partial(),
    enable_script_checks: z.boolean(),
    enable_local_script_checks: z.boolean(),
    leave_on_terminate: z.boolean(),
    log_level: text,
    service: definition,
    services: z.array(definition).max(10_000),
    check: definition,
    checks: z.array(definition).max(10_000),
    watches: z.array(definition).max(1000),
    reconnect_timeout: text,
    limits: z
      .strictObject({
        http_max_conns_per_client: z.number().int().min(0).max(1_000_000),
        request_limits: z
          .strictObject({ mode: z.enum(["disabled", "enforcing"]), read_rate: rate, write_rate: rate })
          .partial(),
      })
      .partial(),
    acl: z
      .strictObject({
        enabled: z.boolean(),
        default_policy: z.enum(["allow", "deny"]),
        tokens: z.strictObject({ default: text, config_file_service_registration: text }).partial(),
      })
      .partial(),
  })
  .partial();

export type DiscoveryFile = z.infer<typeof fileSchema>;

/** `.hcl` is HCL, all else JSON. @throws AppError `invalid` that names file and key. */
export function parseDiscoveryFile(source: string, path: string): DiscoveryFile {
  const value = path.endsWith(".hcl")
    ? gatherBlocks(parseHcl(source, (what) => unreadable(path, what)))
    : parseJson(source, path);
  const result = fileSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined ? "" : [...issue.path, issue.message].join(" ");
  throw new AppError("invalid", `Cannot use "${path}": ${where}`, {
    hint: `Keys are ${Object.keys(fileSchema.shape).join(", ")}`,
  });
}

function parseJson(source: string, path: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    throw unreadable(path, "it is not JSON");
  }
}

function unreadable(path: string, what: string): AppError {
  return new AppError("invalid", `Cannot read "${path}": ${what}`, {
    hint: "Configuration is Consul's: HCL in a file that ends in .hcl, JSON in any other",
  });
}

/** Later sources win; services and checks of all files count. @throws AppError `invalid` that names the setting. */
export function makeDiscoveryConfig(
  files: readonly DiscoveryFile[],
  flags: DiscoveryFlags,
  machine: DiscoveryMachine,
): DiscoveryConfig {
  const file: DiscoveryFile = Object.assign({}, ...files);
  const ports: NonNullable<DiscoveryFile["ports"]> = Object.assign({}, ...files.map((each) => each.ports ?? {}));
  const bind = parseAddress("--bind", flags.bind ?? file.bind_addr ?? "127.0.0.1");
  const client = parseAddress("--client", flags.client ?? file.client_addr ?? "127.0.0.1");
  const node = parseHostName(flags.node ?? file.node_name ?? (machine.hostName.split(".")[0] || "node"));
  const join = flags.join ?? [...(file.start_join ?? []), ...(file.retry_join ?? [])];
  const server = flags.server ?? file.server ?? false;
  const bootstrap = flags.bootstrap ?? file.bootstrap ?? false;
  const bootstrapExpect = parseExpect(flags.bootstrapExpect) ?? file.bootstrap_expect ?? 0;
  if ((bootstrap || bootstrapExpect > 0) && !server)
    throw new AppError("invalid", "Cannot bootstrap: only a server begins a cluster", { hint: "Add --server" });
  const limits: NonNullable<DiscoveryFile["limits"]> = file.limits ?? {};
  const acl: NonNullable<DiscoveryFile["acl"]> = file.acl ?? {};
  const scripts = flags.enableScriptChecks ?? file.enable_script_checks ?? false;
  const local = flags.enableLocalScriptChecks ?? file.enable_local_script_checks ?? false;
  return {
    node,
    datacenter: (flags.datacenter ?? file.datacenter ?? "dc1").toLowerCase(),
    domain: (flags.domain ?? file.domain ?? "consul").toLowerCase().replace(/\.$/, ""),
    bind,
    client,
    server,
    bootstrap,
    bootstrapExpect,
    join: join.map(parseJoin),
    dataDir: flags.dataDir ?? file.data_dir ?? `${machine.homeDir}/.apollo/discovery/${node}`,
    clusterPort: parsePort("--cluster-port", flags.clusterPort) ?? ports.serf_lan ?? CLUSTER_PORT,
    serverPort: parsePort("--server-port", flags.serverPort) ?? ports.server ?? SERVER_PORT,
    httpPort: parsePort("--http-port", flags.httpPort) ?? ports.http ?? HTTP_PORT,
    dnsPort: parsePort("--dns-port", flags.dnsPort) ?? ports.dns ?? DNS_PORT,
    token: flags.token ?? null,
    scripts: scripts ? "all" : local ? "local" : "off",
    leaveOnTerminate: flags.leaveOnTerminate ?? file.leave_on_terminate ?? false,
    logLevel: parseLogLevel(flags.logLevel ?? file.log_level ?? "info"),
    services: files.flatMap((each) => [
      ...(each.service === undefined ? [] : [each.service]),
      ...(each.services ?? []),
    ]),
    watches: files.flatMap((each) => (each.watches ?? []).map(parseWatch)),
    acl: acl.enabled === true ? (acl.default_policy ?? "allow") : "off",
    definitionsToken: acl.tokens?.config_file_service_registration ?? acl.tokens?.default ?? null,
    clientMax: limits.http_max_conns_per_client ?? null,
    rates: ratesOf(limits.request_limits),
    reapAfterMs: parseReconnect(file.reconnect_timeout ?? RECONNECT_TIMEOUT),
    checks: files.flatMap((each) => [...(each.check === undefined ? [] : [each.check]), ...(each.checks ?? [])]),
  };
}

function parseExpect(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (/^\d$/.test(value) && number >= 1) return number;
  throw new AppError("invalid", `Cannot expect "${value}" servers: it must be 1 to ${BOOTSTRAP_EXPECT_MAX}`);
}

function parseAddress(name: string, value: string): Ipv4 {
  if (isIpv4(value)) return parseIpv4(value);
  throw new AppError("invalid", `Cannot use ${name} "${value}": it must be an IPv4 address`);
}

function parsePort(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (/^\d{1,5}$/.test(value) && number >= 1 && number <= 65_535) return number;
  throw new AppError("invalid", `Cannot use ${name} "${value}": it must be 1 to 65535`);
}

/** `HOST` or `HOST:PORT`. */
function parseJoin(value: string): string {
  const [, host = "", digits = String(CLUSTER_PORT)] = /^([\w.-]{1,255})(?::(\d{1,5}))?$/.exec(value) ?? [];
  const number = Number(digits);
  if (host !== "" && number >= 1 && number <= 65_535) return `https://${host}:${number}`;
  throw new AppError("invalid", `Cannot join "${value}": it must be ADDRESS or ADDRESS:PORT`);
}

function ratesOf(limits: NonNullable<DiscoveryFile["limits"]>["request_limits"]): RateLimits | null {
  if (limits?.mode !== "enforcing") return null;
  const of = (given = -1): number => (given === -1 ? Infinity : given);
  return { readsPerSecond: of(limits.read_rate), writesPerSecond: of(limits.write_rate) };
}

function parseReconnect(value: string): number {
  const ms = parseDuration(value);
  if (ms !== null && ms >= RECONNECT_MS_MIN) return ms;
  throw new AppError("invalid", `Cannot use reconnect_timeout "${value}": it must be a duration of 8h or more`);
}

function parseLogLevel(value: string): DiscoveryConfig["logLevel"] {
  const level = LOG_LEVELS.find((known) => known === value.toLowerCase());
  if (level !== undefined) return level;
  throw new AppError("invalid", `Cannot use log level "${value}": it must be one of ${LOG_LEVELS.join(", ")}`);
}
