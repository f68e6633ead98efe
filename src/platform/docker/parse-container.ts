import type { Container } from "../../model/container.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { isIpv6 } from "../../model/ip6.ts";

/** The parts of `GET /containers/ID/json` that we read. All may be missing: engines differ by version. */
export interface InspectJson {
  readonly Id: string;
  readonly Name?: string;
  readonly Config?: {
    readonly Image?: string;
    readonly Env?: readonly string[] | null;
    readonly Labels?: Readonly<Record<string, string>> | null;
    readonly ExposedPorts?: Readonly<Record<string, unknown>> | null;
    readonly Tty?: boolean;
  };
  readonly State?: {
    readonly Status?: string;
    readonly ExitCode?: number;
    readonly OOMKilled?: boolean;
    readonly Pid?: number;
    readonly StartedAt?: string;
    readonly FinishedAt?: string;
    readonly Health?: { readonly Status?: string } | null;
  };
  readonly HostConfig?: {
    readonly RestartPolicy?: { readonly Name?: string };
    readonly NetworkMode?: string;
    readonly Privileged?: boolean;
    readonly CapAdd?: readonly string[] | null;
  };
  readonly NetworkSettings?: {
    readonly Networks?: Readonly<Record<string, EndpointJson | null>> | null;
  };
}

interface EndpointJson {
  readonly IPAddress?: string;
  readonly GlobalIPv6Address?: string;
  readonly MacAddress?: string;
  readonly EndpointID?: string;
  readonly Aliases?: readonly string[] | null;
  readonly IPAMConfig?: { readonly IPv4Address?: string; readonly IPv6Address?: string } | null;
}

/** The parts of an entry of `GET /containers/json` that tell whether a container changed since it was inspected. */
export interface ListEntryJson {
  readonly Id: string;
  readonly Names?: readonly string[] | null;
  readonly State?: string;
  /** For people: "Up 3 minutes (healthy)". Nothing else in a list tells what a HEALTHCHECK says. */
  readonly Status?: string;
  readonly NetworkSettings?: { readonly Networks?: Readonly<Record<string, EndpointJson | null>> | null } | null;
}

const SHORT_ID = 12;
const STATES: ReadonlySet<string> = new Set(["created", "running", "paused", "restarting", "exited", "dead"]);

export function parseContainer(json: InspectJson): Container {
  const state = parseState(json.State?.Status);
  const networks = Object.entries(json.NetworkSettings?.Networks ?? {});
  const ended = state === "exited" || state === "dead" || state === "restarting";
  return {
    id: json.Id,
    name: (json.Name ?? "").replace(/^\//, ""),
    image: json.Config?.Image ?? "",
    state,
    exitCode: ended ? (json.State?.ExitCode ?? null) : null,
    startedAtMs: parseTime(json.State?.StartedAt),
    finishedAtMs: parseTime(json.State?.FinishedAt),
    oomKilled: json.State?.OOMKilled === true,
    env: Object.fromEntries((json.Config?.Env ?? []).map(parseVariable)),
    labels: json.Config?.Labels ?? {},
    addresses: Object.fromEntries(
      networks.flatMap(([name, endpoint]) => {
        const address = parseAddress(endpoint?.IPAddress);
        return address === null ? [] : [[name, address] as const];
      }),
    ),
    macs: Object.fromEntries(
      networks.flatMap(([name, endpoint]) => (endpoint?.MacAddress ? [[name, endpoint.MacAddress] as const] : [])),
    ),
    ...readAddresses6(networks),
    ...readAliases(json.Id, networks),
    fixedAddress:
      networks.map(([, endpoint]) => parseAddress(endpoint?.IPAMConfig?.IPv4Address)).find((a) => a !== null) ?? null,
    exposedPorts: Object.keys(json.Config?.ExposedPorts ?? {}).flatMap(parsePort),
    ...readHealth(json.State?.Health?.Status),
    restart: parseRestart(json.HostConfig?.RestartPolicy?.Name),
    ...readNetAdmin(json.HostConfig),
    pid: json.State?.Pid === undefined || json.State.Pid <= 0 ? null : json.State.Pid,
  };
}

/**
 * Equal keys mean that an earlier inspection still holds. The state alone would miss a restart between two lists; each
 * start makes new network endpoints, so their ids are part of the key.
 */
export function changeKey(entry: ListEntryJson): string {
  const endpoints = Object.entries(entry.NetworkSettings?.Networks ?? {}).map(
    ([name, endpoint]) => `${name}=${endpoint?.EndpointID ?? ""}=${endpoint?.IPAddress ?? ""}`,
  );
  const [health = ""] = /\((healthy|unhealthy|health: starting)\)/.exec(entry.Status ?? "") ?? [];
  return [entry.State ?? "", health, ...(entry.Names ?? []), ...endpoints.toSorted()].join(" ");
}

/** Engines write "none" for a container without HEALTHCHECK. */
function readHealth(status: string | undefined): Pick<Container, "health"> {
  return status === "starting" || status === "healthy" || status === "unhealthy" ? { health: status } : {};
}

function parseState(status: string | undefined): Container["state"] {
  // "removing" is a container that is no longer of use to anyone.
  return status !== undefined && STATES.has(status) ? (status as Container["state"]) : "dead";
}

function readAddresses6(
  networks: readonly (readonly [string, EndpointJson | null])[],
): Pick<Container, "addresses6" | "fixedAddress6"> {
  const pairs = networks.flatMap(([name, endpoint]) => {
    const text = endpoint?.GlobalIPv6Address;
    return text !== undefined && isIpv6(text) ? [[name, text] as const] : [];
  });
  const fixed = networks.map(([, endpoint]) => endpoint?.IPAMConfig?.IPv6Address ?? "").find(isIpv6);
  return {
    ...(pairs.length === 0 ? {} : { addresses6: Object.fromEntries(pairs) }),
    ...(fixed === undefined ? {} : { fixedAddress6: fixed }),
  };
}

/** Without the short id, which the engine makes an alias of every container. */
function readAliases(
  id: string,
  networks: readonly (readonly [string, EndpointJson | null])[],
): Pick<Container, "aliases"> {
  const pairs = networks.flatMap(([name, endpoint]) => {
    const aliases = (endpoint?.Aliases ?? []).filter((alias) => alias !== id.slice(0, SHORT_ID));
    return aliases.length === 0 ? [] : [[name, aliases] as const];
  });
  return pairs.length === 0 ? {} : { aliases: Object.fromEntries(pairs) };
}

/** Engines before some version write "" for "no". */
function parseRestart(name: string | undefined): NonNullable<Container["restart"]> {
  return name === "unless-stopped" || name === "on-failure" || name === "always" ? name : "no";
}

const NETWORK_OF = "container:";
/** capabilities(7): the first is what it takes, the others lead to it. Engines take and give names with and without "CAP_". */
const NET_ADMINS: ReadonlySet<string> = new Set(["NET_ADMIN", "SYS_ADMIN", "ALL"]);

function readNetAdmin(config: InspectJson["HostConfig"]): Pick<Container, "netAdmin" | "networkOf"> {
  if (config === undefined) return {};
  const { NetworkMode: mode = "", CapAdd: added } = config;
  const netAdmin =
    config.Privileged !== false ||
    (added ?? []).some((name) => NET_ADMINS.has(name.toUpperCase().replace(/^CAP_/, "")));
  return { netAdmin, ...(mode.startsWith(NETWORK_OF) ? { networkOf: mode.slice(NETWORK_OF.length) } : {}) };
}

/** The engine writes year 1 for "never". */
function parseTime(text: string | undefined): number | null {
  const epochMs = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(epochMs) || epochMs <= 0 ? null : epochMs;
}

function parseVariable(line: string): readonly [string, string] {
  const at = line.indexOf("=");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
}

function parseAddress(text: string | undefined): Ipv4 | null {
  return text !== undefined && isIpv4(text) ? text : null;
}

function parsePort(text: string): readonly { readonly port: number; readonly protocol: "tcp" | "udp" }[] {
  const [number = "", protocol = "tcp"] = text.split("/");
  const port = Number(number);
  const known = protocol === "tcp" || protocol === "udp";
  return known && Number.isInteger(port) && port > 0 ? [{ port, protocol }] : [];
}
