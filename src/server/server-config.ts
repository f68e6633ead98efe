import { z } from "zod";
import {
  type ClusterSettings,
  DEFAULT_CONTAINER_DOMAIN,
  DEFAULT_SETTINGS,
  ENCRYPTIONS,
  type Encryption,
} from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import { formatCidr, parseCidr, parseIpv4 } from "../model/ip.ts";
import { formatCidr6, parseCidr6 } from "../model/ip6.ts";
import { parseRange6 } from "../network/address6.ts";
import { checkRangeClash } from "../network/blocks.ts";
import { chosenDns, dnsTable } from "./dns-table.ts";

/** Everything a server has to know to start; made once, from defaults, file, environment and flags. */
export interface ServerConfig {
  readonly version: string;
  readonly dataDir: string;
  /** Address and port of the HTTPS listener. */
  readonly bind: string;
  readonly port: number;
  /** Addresses and names that others reach this server by; the first one goes into the admin file. */
  readonly advertise: readonly string[];
  /** Also listen in plain HTTP on 127.0.0.1, without a token. Null: no. */
  readonly anonymousPort: number | null;
  /** Consul's API. */
  readonly consul: ConsulConfig;
  readonly resetAdminToken: boolean;
  /** Settings of a new cluster; a cluster that exists keeps its own. */
  readonly initial: ClusterSettings;
  /** A certain IPv6 range was asked for: a cluster that exists and has none gets it. */
  readonly range6IsGiven: boolean;
}

export interface ConsulConfig {
  /** Plain HTTP listener, where Consul's clients look for it; null for none. The HTTPS port serves `/v1` anyway. */
  readonly listen: { readonly bind: string; readonly port: number } | null;
  /** Asked for, so that a taken port is an error. By default the server goes on without the listener. */
  readonly listenIsGiven: boolean;
  /** Name of the node that the server is; missing: the machine's. */
  readonly node?: string;
  /** `off`: this machine may do everything. Else Consul's ACLs, with what holds where no rule does. */
  readonly acl: "off" | "allow" | "deny";
  /** Whether this machine's agent runs scripts that clients register, for those that register them with this server. */
  readonly scripts: boolean;
  /** The port of this server's own that `status/leader` shows; missing: Consul's 8300. */
  readonly serverPort?: number;
  /** Members that are down for so long are removed; missing: never, since a host of containers has more to lose than its place. */
  readonly reapAfterMs?: number;
  /** Requests of one address under way at once on the plain listener; missing: Consul's 200, 0: any number. */
  readonly clientMax?: number;
  /** Requests a second of all clients together; missing: any number. */
  readonly rates?: { readonly readsPerSecond: number; readonly writesPerSecond: number };
}

export const DEFAULT_DATA_DIR = "/var/lib/apollo";
const DEFAULT_PORT = 8443;
const ANONYMOUS_PORT = 8080;
/** A smaller one has no room for services worth the name. */
const VIRTUAL_PREFIX_MAX = 28;
const CONSUL_LISTEN = "127.0.0.1:8500";

/** One source of settings. Flags, environment and file have the same names. */
export interface ServerSettingsInput {
  readonly dataDir?: string | undefined;
  /** ADDRESS:PORT of the one HTTPS port. */
  readonly listen?: string | undefined;
  readonly advertise?: string | undefined;
  readonly range?: string | undefined;
  /** CIDR of the IPv6 range, "auto" for a private one of a new cluster, or "off". */
  readonly range6?: string | undefined;
  readonly virtualRange?: string | undefined;
  readonly blockPrefix?: string | number | undefined;
  readonly datacenter?: string | undefined;
  readonly dnsDomain?: string | undefined;
  readonly containerDomain?: string | undefined;
  readonly ingressDomain?: string | undefined;
  readonly dnsUpstreams?: readonly string[] | undefined;
  readonly encryption?: string | undefined;
  /** CIDR texts; from flags and environment one text with commas. */
  readonly trustedRanges?: readonly string[] | string | undefined;
  readonly dns?: z.infer<typeof dnsTable> | undefined;
  readonly anonymous?: boolean | undefined;
  /** ADDRESS:PORT of Consul's API in plain HTTP, or "off". */
  readonly consulListen?: string | undefined;
  /** "off", "allow" or "deny". */
  readonly consulAcl?: string | undefined;
  /** Whether the agent of this machine has it, too; from the environment "on" or "off". */
  readonly enableScriptChecks?: boolean | string | undefined;
  readonly resetAdminToken?: boolean | undefined;
}

const text = z.string().min(1).max(255);
const fileSchema = z
  .strictObject({
    dataDir: text,
    listen: text,
    advertise: text,
    range: text,
    range6: text,
    virtualRange: text,
    blockPrefix: z.number().int(),
    datacenter: text,
    dnsDomain: text,
    containerDomain: text,
    ingressDomain: text,
    dnsUpstreams: z.array(text).max(8),
    encryption: text,
    trustedRanges: z.array(text).max(64),
    dns: dnsTable,
    anonymous: z.boolean(),
    consulListen: text,
    consulAcl: text,
    enableScriptChecks: z.boolean(),
  })
  .partial();

/** Keys that a server's configuration file may have. */
export const SERVER_FILE_KEYS: readonly string[] = Object.keys(fileSchema.shape);

/** @throws AppError `invalid` that names the key and, for an unknown one, those that there are. */
export function parseServerFile(value: unknown, path: string): ServerSettingsInput {
  const result = fileSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new AppError("invalid", `Cannot use "${path}": ${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`.trim(), {
    hint: `Keys are ${SERVER_FILE_KEYS.join(", ")}`,
  });
}

const ENVIRONMENT: Readonly<Record<string, keyof ServerSettingsInput>> = {
  APOLLO_DATA_DIR: "dataDir",
  APOLLO_LISTEN: "listen",
  APOLLO_ADVERTISE: "advertise",
  APOLLO_RANGE: "range",
  APOLLO_RANGE6: "range6",
  APOLLO_VIRTUAL_RANGE: "virtualRange",
  APOLLO_BLOCK_PREFIX: "blockPrefix",
  APOLLO_DATACENTER: "datacenter",
  APOLLO_DNS_DOMAIN: "dnsDomain",
  APOLLO_CONTAINER_DOMAIN: "containerDomain",
  APOLLO_INGRESS_DOMAIN: "ingressDomain",
  APOLLO_ENCRYPTION: "encryption",
  APOLLO_TRUSTED_RANGES: "trustedRanges",
  APOLLO_CONSUL_LISTEN: "consulListen",
  APOLLO_CONSUL_ACL: "consulAcl",
  APOLLO_SCRIPT_CHECKS: "enableScriptChecks",
};

export function readServerEnvironment(env: Readonly<Record<string, string | undefined>>): ServerSettingsInput {
  return Object.fromEntries(
    Object.entries(ENVIRONMENT).flatMap(([name, key]) => (env[name] ? [[key, env[name]]] : [])),
  );
}

const DOMAIN = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/**
 * Puts the sources together; later ones win.
 * @param ownAddress an address of this machine that others may reach it by, for when none is given
 * @param newRange6 an IPv6 range for a new cluster, made by chance; null for none
 */
export function makeServerConfig(
  sources: readonly ServerSettingsInput[],
  machine: { readonly version: string; readonly ownAddress: string; readonly newRange6?: string | null },
): ServerConfig {
  const defined = sources.map((source) =>
    Object.fromEntries(Object.entries(source).filter(([, value]) => value !== undefined)),
  );
  const merged: ServerSettingsInput = Object.assign({}, ...defined);
  const dns = chosenDns(merged.dns);
  const { bind, port } = parseListen(merged.listen ?? `0.0.0.0:${DEFAULT_PORT}`);
  // An IPv6 address may be written in brackets, as in a URL.
  const advertise = merged.advertise?.split(",").map((each) => each.trim().replace(/^\[(.*)\]$/, "$1")) ?? [
    machine.ownAddress,
  ];
  return {
    version: machine.version,
    dataDir: merged.dataDir ?? DEFAULT_DATA_DIR,
    bind,
    port,
    advertise: [...new Set([...advertise, "127.0.0.1"])],
    anonymousPort: merged.anonymous === true ? ANONYMOUS_PORT : null,
    consul: parseConsul(merged),
    resetAdminToken: merged.resetAdminToken === true,
    range6IsGiven: ![undefined, "auto", "off"].includes(merged.range6),
    initial: {
      range: checked("range", merged.range ?? DEFAULT_SETTINGS.range, (value) => parseCidr(value) !== null),
      range6: chooseRange6(merged.range6 ?? "auto", machine.newRange6 ?? null),
      virtualRange: parseVirtualRange(merged),
      blockPrefix: parseBlockPrefix(merged),
      dnsDomain: domain("dnsDomain", merged.dnsDomain ?? DEFAULT_SETTINGS.dnsDomain),
      containerDomain: domain("containerDomain", merged.containerDomain ?? DEFAULT_CONTAINER_DOMAIN),
      datacenter: domain("datacenter", merged.datacenter ?? DEFAULT_SETTINGS.datacenter),
      ingressDomain: domain("ingressDomain", merged.ingressDomain ?? DEFAULT_SETTINGS.ingressDomain),
      dnsUpstreams: (merged.dnsUpstreams ?? DEFAULT_SETTINGS.dnsUpstreams).map(parseIpv4),
      encryption: parseEncryption(merged.encryption ?? DEFAULT_SETTINGS.encryption),
      trustedRanges: parseRanges(merged.trustedRanges ?? DEFAULT_SETTINGS.trustedRanges),
      ...(dns === null ? {} : { dns }),
    },
  };
}

function parseConsul({ consulListen, consulAcl = "off", ...rest }: ServerSettingsInput): ConsulConfig {
  if (consulAcl !== "off" && consulAcl !== "allow" && consulAcl !== "deny") {
    throw new AppError("invalid", `Cannot use consulAcl "${consulAcl}": it must be off, allow or deny`);
  }
  const listen = consulListen === "off" ? null : parseListen(consulListen ?? CONSUL_LISTEN);
  const scripts = parseSwitch("enableScriptChecks", rest.enableScriptChecks ?? false);
  return {
    listen,
    listenIsGiven: consulListen !== undefined && consulListen !== CONSUL_LISTEN,
    acl: consulAcl,
    scripts,
  };
}

function parseSwitch(name: string, value: boolean | string): boolean {
  if (value === true || value === "on") return true;
  if (value === false || value === "off") return false;
  throw new AppError("invalid", `Cannot use ${name} "${value}": it must be on or off`);
}

function parseListen(value: string): { bind: string; port: number } {
  const [, where = "0.0.0.0", digits = ""] = /^(?:(.+):)?(\d{1,5})$/.exec(value) ?? [];
  const bind = where.replace(/^\[(.*)\]$/, "$1");
  const port = Number(digits);
  if (digits === "" || port < 1 || port > 65_535) {
    throw new AppError("invalid", `Cannot listen on "${value}": it must look like 0.0.0.0:${DEFAULT_PORT}`);
  }
  return { bind, port };
}

function chooseRange6(value: string, made: string | null): string | null {
  if (value === "off") return null;
  return value === "auto" ? made : parseRange6(value);
}

/** A default that lies in the container range is no one's wish: another one is taken. */
function parseVirtualRange(merged: ServerSettingsInput): string {
  const wanted = merged.virtualRange ?? DEFAULT_SETTINGS.virtualRange;
  const { prefix } = parseCidr(wanted);
  if (prefix > VIRTUAL_PREFIX_MAX) {
    throw new AppError(
      "invalid",
      `Cannot use virtual range "${wanted}": its prefix must be at most ${VIRTUAL_PREFIX_MAX}`,
    );
  }
  const clash = checkRangeClash(wanted, [merged.range ?? DEFAULT_SETTINGS.range]);
  if (clash === null) return wanted;
  if (merged.virtualRange === undefined && clash.suggestion !== null) return clash.suggestion;
  throw new AppError(
    "invalid",
    `Cannot use virtual range "${wanted}": it overlaps the container range ${clash.with.join(", ")}`,
    {
      hint:
        clash.suggestion === null ? "Choose a smaller container range" : `Use a free range such as ${clash.suggestion}`,
    },
  );
}

function parseBlockPrefix(merged: ServerSettingsInput): number {
  const prefix = Number(merged.blockPrefix ?? DEFAULT_SETTINGS.blockPrefix);
  const range = parseCidr(merged.range ?? DEFAULT_SETTINGS.range);
  if (!Number.isInteger(prefix) || prefix < range.prefix || prefix > 29) {
    throw new AppError("invalid", `Cannot use block prefix "${merged.blockPrefix}": it must be ${range.prefix} to 29`, {
      hint: "A host's block has 2^(32 - prefix) addresses: 24 gives each host 253 containers",
    });
  }
  return prefix;
}

function parseEncryption(value: string): Encryption {
  const found = ENCRYPTIONS.find((known) => known === value);
  if (found !== undefined) return found;
  throw new AppError("invalid", `Cannot use encryption "${value}": it must be one of ${ENCRYPTIONS.join(", ")}`);
}

/** An empty text trusts no network. */
function parseRanges(value: readonly string[] | string): readonly string[] {
  const texts = typeof value === "string" ? value.split(",").map((each) => each.trim()) : value;
  return texts
    .filter((each) => each !== "")
    .map((each) => (each.includes(":") ? formatCidr6(parseCidr6(each)) : formatCidr(parseCidr(each))));
}

function domain(name: string, value: string): string {
  return checked(name, value.toLowerCase().replace(/^\.|\.$/g, ""), (each) => DOMAIN.test(each));
}

function checked(name: string, value: string, fits: (value: string) => boolean): string {
  if (!fits(value)) throw new AppError("invalid", `Cannot use ${name} "${value}"`);
  return value;
}
