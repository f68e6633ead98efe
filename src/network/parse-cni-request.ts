/** The Container Network Interface, specifications 0.3.1 to 1.1.0: what a runtime asks of a plugin. */
import { z } from "zod";
import type { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4 } from "../model/ip.ts";
import type { HostAddress, Ipv6 } from "../model/ip6.ts";
import { parseHostAddress } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { dnsName } from "./attachment.ts";

export const CNI_VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** Error codes of the specification. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  tryAgain: 11,
  notAvailable: 50,
  internal: 999,
} as const;

/** A failure with its code, as the runtime is to see it. */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = "") {
    super(message);
    this.name = "CniError";
    this.code = code;
    this.details = details;
  }
}

const name = z.string().min(1).max(255);
/** Of either family, as RFC 5952 writes the newer one. */
const via = z.string().transform((value, context): HostAddress => {
  const address = readAddress(value);
  if (address !== null) return address;
  context.addIssue("must be an IP address");
  return z.NEVER;
});
const configShape = z.looseObject({
  cniVersion: z.string().default("0.3.1"),
  name,
  type: name,
  /** Which network of the cluster. */
  network: z.string().max(63).default(DEFAULT_NETWORK),
  /** Whether the interface is the way out; also given as `isGateway` by other plugins. */
  isDefaultGateway: z.boolean().default(true),
  multicastRoute: z.boolean().default(true),
  routes: z.array(z.looseObject({ dst: z.string(), gw: via.optional() })).default([]),
  ipam: z
    .looseObject({
      type: z.string().optional(),
      routes: z.array(z.looseObject({ dst: z.string(), gw: via.optional() })).default([]),
    })
    .default({ routes: [] }),
  dns: z.looseObject({}).optional(),
  runtimeConfig: z
    .looseObject({
      ips: z.array(z.string()).optional(),
      aliases: z.record(z.string(), z.array(z.string())).optional(),
    })
    .optional(),
  args: z.looseObject({ cni: z.looseObject({ ips: z.array(z.string()).optional() }).optional() }).optional(),
  prevResult: z.unknown().optional(),
  "cni.dev/valid-attachments": z.array(z.looseObject({ containerID: name, ifname: name })).optional(),
});

export type CniConfig = z.infer<typeof configShape> & { readonly version: CniVersion };

export type CniCommand = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";
const COMMANDS: readonly CniCommand[] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];

/** @throws CniError */
export function parseCniCommand(text: string | undefined): CniCommand {
  const command = COMMANDS.find((known) => known === text);
  if (command !== undefined) return command;
  throw new CniError(
    CNI_CODE.invalidEnvironment,
    `CNI_COMMAND must be one of ${COMMANDS.join(", ")}`,
    `It is "${text ?? ""}"`,
  );
}

/** Reads what stands on standard input. @throws CniError */
export function parseCniConfig(text: string): CniConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CniError(CNI_CODE.decode, "The network configuration is not JSON", String(error));
  }
  const result = configShape.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new CniError(CNI_CODE.invalidConfig, `Network configuration: ${issue?.path.join(".")} ${issue?.message}`);
  }
  const version = CNI_VERSIONS.find((known) => known === result.data.cniVersion);
  if (version === undefined) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `CNI version ${result.data.cniVersion} is not supported`,
      `Supported are ${CNI_VERSIONS.join(", ")}`,
    );
  }
  return { ...result.data, version };
}

export interface CniKey {
  readonly containerId: string;
  readonly interfaceName: string;
}

/** @throws CniError that names the missing variable. */
export function parseCniKey(env: Readonly<Record<string, string | undefined>>): CniKey {
  const containerId = required(env, "CNI_CONTAINERID", /^[A-Za-z0-9][\w.-]{0,254}$/);
  return { containerId, interfaceName: required(env, "CNI_IFNAME", /^[^\s/:]{1,15}$/) };
}

/** Path of the container's namespace. @throws CniError */
export function parseCniNamespace(env: Readonly<Record<string, string | undefined>>): string {
  return required(env, "CNI_NETNS", /^\/.{1,1023}$/);
}

/** What the user asked for; one of a family at most. */
export interface WantedAddresses {
  readonly address: Ipv4 | null;
  readonly address6: Ipv6 | null;
}

/** Addresses that the user asked for: by capability `ips`, by `args.cni.ips`, or by CNI_ARGS `IP=`. @throws CniError */
export function wantedAddresses(config: CniConfig, cniArgs: string | undefined): WantedAddresses {
  const fromArgs = /(?:^|;)IP=([^;]+)/.exec(cniArgs ?? "")?.[1];
  const lists = [config.runtimeConfig?.ips, config.args?.cni?.ips, fromArgs?.split(",")];
  const given = lists.find((list) => list !== undefined && list.length > 0) ?? [];
  const found = given.map((each) => {
    const address = readAddress(each.split("/")[0] ?? "");
    if (address !== null) return address;
    throw new CniError(CNI_CODE.invalidConfig, `Address "${each}" is no IP address`);
  });
  const [four, six] = [found.filter(isIpv4), found.filter((each): each is Ipv6 => !isIpv4(each))];
  if (four.length > 1 || six.length > 1) {
    throw new CniError(CNI_CODE.invalidConfig, "An interface has one address of each family", given.join(", "));
  }
  return { address: four[0] ?? null, address6: six[0] ?? null };
}

/** The container's name, as runtimes pass it on, else its first alias; null for one that DNS cannot have. */
export function wantedName(config: CniConfig, cniArgs: string | undefined): string | null {
  const fromArgs = /(?:^|;)K8S_POD_NAME=([^;]+)/.exec(cniArgs ?? "")?.[1];
  const aliases = config.runtimeConfig?.aliases?.[config.name] ?? [];
  return [fromArgs, ...aliases].find((name) => dnsName.safeParse(name).success) ?? null;
}

/** What another IPAM plugin answered: its first IPv4 address. */
export interface ForeignAddress {
  readonly address: Ipv4;
  readonly prefix: number;
  readonly gateway: Ipv4 | null;
  readonly routes: readonly { readonly dst: string; readonly gw?: HostAddress | undefined }[];
}

const ipamResult = z.looseObject({
  ips: z.array(z.looseObject({ address: z.string(), gateway: z.string().optional() })),
  routes: z.array(z.looseObject({ dst: z.string(), gw: via.optional() })).default([]),
});

/** @throws CniError when there is none. */
export function parseIpamResult(text: string): ForeignAddress {
  const parsed = ipamResult.safeParse(readJson(text));
  for (const { address: cidr, gateway } of parsed.data?.ips ?? []) {
    const [address = "", prefix = ""] = cidr.split("/");
    if (!isIpv4(address) || !/^\d{1,2}$/.test(prefix)) continue;
    const next = gateway !== undefined && isIpv4(gateway) ? gateway : null;
    return { address, prefix: Number(prefix), gateway: next, routes: parsed.data?.routes ?? [] };
  }
  throw new CniError(CNI_CODE.invalidConfig, "The IPAM plugin gave no IPv4 address", text.slice(0, 500));
}

function required(env: Readonly<Record<string, string | undefined>>, variable: string, pattern: RegExp): string {
  const value = env[variable] ?? "";
  if (pattern.test(value)) return value;
  const fault = value === "" ? "is missing" : `cannot be "${value}"`;
  throw new CniError(CNI_CODE.invalidEnvironment, `Environment variable ${variable} ${fault}`);
}

function readAddress(text: string): HostAddress | null {
  try {
    return parseHostAddress(text);
  } catch {
    return null;
  }
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The code for what an agent said. */
export function cniErrorOf(error: AppError): CniError {
  const codes: Partial<Record<AppError["code"], number>> = {
    invalid: CNI_CODE.invalidConfig,
    "not-found": CNI_CODE.unknownContainer,
    unavailable: CNI_CODE.tryAgain,
  };
  return new CniError(codes[error.code] ?? CNI_CODE.internal, error.message, error.hint);
}
