/** Docker's plugin protocol (libnetwork docs/remote.md and docs/ipam.md): one POST a call, JSON both ways. */
import { z } from "zod";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4 } from "../model/ip.ts";

const id = z.string().min(1).max(256);
const options = z.record(z.string(), z.unknown()).nullish();
const pool = z.object({ AddressSpace: z.string().default(""), Pool: z.string(), Gateway: z.string().default("") });
const network = z.object({ NetworkID: id });
const endpoint = z.object({ NetworkID: id, EndpointID: id });

/** Of the engine's networks that our plugin serves. */
export const PLUGIN_DRIVER = "apollo";
/** Of such a network: which of ours it is. */
export const OPTION_NETWORK = "apollo.network";

const shapes = {
  "Plugin.Activate": z.unknown(),
  "NetworkDriver.GetCapabilities": z.unknown(),
  "NetworkDriver.CreateNetwork": network.extend({
    Options: options,
    IPv4Data: z.array(pool).nullish(),
    IPv6Data: z.array(z.unknown()).nullish(),
  }),
  "NetworkDriver.DeleteNetwork": network,
  "NetworkDriver.CreateEndpoint": endpoint.extend({
    Interface: z.object({ Address: z.string().default(""), MacAddress: z.string().default("") }).nullish(),
  }),
  "NetworkDriver.DeleteEndpoint": endpoint,
  "NetworkDriver.EndpointOperInfo": endpoint,
  "NetworkDriver.Join": endpoint.extend({ SandboxKey: z.string().default("") }),
  "NetworkDriver.Leave": endpoint,
  "NetworkDriver.DiscoverNew": z.unknown(),
  "NetworkDriver.DiscoverDelete": z.unknown(),
  "NetworkDriver.ProgramExternalConnectivity": z.unknown(),
  "NetworkDriver.RevokeExternalConnectivity": z.unknown(),
  "IpamDriver.GetCapabilities": z.unknown(),
  "IpamDriver.GetDefaultAddressSpaces": z.unknown(),
  "IpamDriver.RequestPool": z.object({
    Pool: z.string().default(""),
    SubPool: z.string().default(""),
    V6: z.boolean().default(false),
    Options: z.record(z.string(), z.string()).nullish(),
  }),
  "IpamDriver.ReleasePool": z.unknown(),
  "IpamDriver.RequestAddress": z.object({
    PoolID: id,
    Address: z.string().default(""),
    Options: z.record(z.string(), z.string()).nullish(),
  }),
  "IpamDriver.ReleaseAddress": z.object({ PoolID: id, Address: z.string() }),
} as const;

type Shapes = typeof shapes;
export type PluginCall = {
  [Name in keyof Shapes]: { readonly call: Name; readonly body: z.infer<Shapes[Name]> };
}[keyof Shapes];

/** Reads one call. Fields of a newer engine are passed over. Null for a call that we do not know. @throws AppError `invalid`. */
export function parsePluginCall(path: string, text: string): PluginCall | null {
  const call = path.replace(/^\//, "");
  if (!isKnown(call)) return null;
  const result = shapes[call].safeParse(readBody(text, call));
  if (result.success) return { call, body: result.data } as PluginCall;
  const [issue] = result.error.issues;
  throw new AppError("invalid", `Cannot read ${call}: ${issue?.path.join(".")} ${issue?.message}`);
}

/** Reads `10.2.1.7/16` or `10.2.1.7`; null for an empty text. @throws AppError `invalid`. */
export function parsePluginAddress(text: string): Ipv4 | null {
  const [address = ""] = text.split("/");
  if (address === "") return null;
  if (isIpv4(address)) return address;
  throw new AppError("invalid", `Cannot use address "${text}": it is no IPv4 address`);
}

/** Which of our networks `-o apollo.network=NAME` chose; null for none. */
export function readNetworkOption(found: Readonly<Record<string, unknown>> | null | undefined): string | null {
  const generic = found?.["com.docker.network.generic"];
  const value = isRecord(generic) ? generic[OPTION_NETWORK] : found?.[OPTION_NETWORK];
  return typeof value === "string" ? value : null;
}

function readBody(text: string, call: string): unknown {
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("invalid", `Cannot read ${call}: it is not JSON`, { cause });
  }
}

function isKnown(call: string): call is keyof Shapes {
  return Object.hasOwn(shapes, call);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
