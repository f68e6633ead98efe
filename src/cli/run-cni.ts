import { AppError } from "../model/error.ts";
import type { AgentQuestion } from "./ask-local-agent.ts";
import type { CniConfig, CniVersion, ForeignAddress } from "../network/parse-cni-request.ts";
import {
  CNI_CODE,
  CNI_VERSIONS,
  CniError,
  cniErrorOf,
  parseCniCommand,
  parseCniConfig,
  parseCniKey,
  parseCniNamespace,
  parseIpamResult,
  wantedAddresses,
  wantedName,
} from "../network/parse-cni-request.ts";
import { renderCniError, renderCniResult, renderCniVersions } from "../network/render-cni-result.ts";
import type { CniMade } from "../network/render-cni-result.ts";
import type { Runner } from "../platform/ports/runner.ts";

/** What the program around gives: the parts of the CLI's context that a plugin uses. */
export interface CniSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: () => AsyncIterable<unknown>;
  readonly stdout: { write(text: string): void };
  readonly signal: AbortSignal;
}

export interface CniWorld {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: () => Promise<string>;
  /** Asks this machine's agent. */
  readonly ask: <T>(question: AgentQuestion) => Promise<T>;
  readonly runner: Runner;
  readonly isFile: (path: string) => boolean;
}

type Wire = Omit<CniMade, "interfaceName" | "netns" | "routes">;
/** Destinations of the way out, which `isDefaultGateway` is about. */
const DEFAULT_ROUTES = ["0.0.0.0/0", "::/0"];

/** As long as a runtime waits for an IPAM plugin, which only looks into files. */
const IPAM_MS_MAX = 10_000;

/** One call of a CNI plugin: what to print, and the exit code. Never throws for what a runtime can understand. */
export async function runCni(world: CniWorld): Promise<{ readonly stdout: string; readonly code: number }> {
  let version: CniVersion = CNI_VERSIONS[CNI_VERSIONS.length - 1] ?? "1.1.0";
  try {
    const command = parseCniCommand(world.env["CNI_COMMAND"]);
    if (command === "VERSION") return { stdout: renderCniVersions(), code: 0 };
    const text = await world.stdin();
    const config = parseCniConfig(text);
    version = config.version;
    const call = { config, text, world };
    switch (command) {
      case "ADD":
        return { stdout: await add(call), code: 0 };
      case "DEL":
        await del(call);
        return { stdout: "", code: 0 };
      case "CHECK":
        await check(call);
        return { stdout: "", code: 0 };
      case "GC":
        await collect(call);
        return { stdout: "", code: 0 };
      case "STATUS":
        await status(call);
        return { stdout: "", code: 0 };
    }
  } catch (error) {
    if (error instanceof CniError) return { stdout: renderCniError(version, error), code: 1 };
    if (error instanceof AppError) return { stdout: renderCniError(version, cniErrorOf(error)), code: 1 };
    throw error;
  }
}

interface Call {
  readonly config: CniConfig;
  /** As it came: IPAM plugins get it unchanged. */
  readonly text: string;
  readonly world: CniWorld;
}

async function add(call: Call): Promise<string> {
  const { config, world } = call;
  const key = parseCniKey(world.env);
  const netns = parseCniNamespace(world.env);
  const foreign = hasForeignIpam(config) ? parseIpamResult(await askIpam(call, "ADD")) : null;
  const routes = [...config.routes, ...config.ipam.routes, ...(foreign?.routes ?? [])].filter(
    ({ dst }) => !DEFAULT_ROUTES.includes(dst),
  );
  try {
    const wire = await world.ask<Wire>({ kind: "cni-add", ...addQuestion(call, { ...key, netns, foreign, routes }) });
    return renderCniResult(config, { ...wire, interfaceName: key.interfaceName, netns, routes });
  } catch (error) {
    // The address would stay taken for ever: a runtime need not call DEL after a failed ADD.
    if (foreign !== null) await askIpam(call, "DEL").catch(() => "");
    throw error;
  }
}

function addQuestion(
  { config, world }: Call,
  wish: {
    readonly containerId: string;
    readonly interfaceName: string;
    readonly netns: string;
    readonly foreign: ForeignAddress | null;
    readonly routes: readonly { readonly dst: string; readonly gw?: string | undefined }[];
  },
): Readonly<Record<string, unknown>> {
  const { containerId, interfaceName, netns, foreign } = wish;
  const { address, address6 } =
    foreign === null ? wantedAddresses(config, world.env["CNI_ARGS"]) : { address: foreign.address, address6: null };
  return {
    config: config.name,
    containerId,
    interfaceName,
    netns,
    network: config.network,
    address: address ?? undefined,
    address6: address6 ?? undefined,
    foreign: foreign === null ? undefined : { prefix: foreign.prefix, gateway: foreign.gateway },
    defaultRoute: config.isDefaultGateway,
    multicast: config.multicastRoute,
    routes: wish.routes.map(({ dst, gw }) => ({ destination: dst, via: gw ?? null })),
    name: wantedName(config, world.env["CNI_ARGS"]) ?? undefined,
  };
}

/** What is gone already is fine, also the namespace itself. */
async function del(call: Call): Promise<void> {
  const key = parseCniKey(call.world.env);
  await call.world.ask({ kind: "cni-del", ...configOf(call.config), ...key });
  if (hasForeignIpam(call.config)) await askIpam(call, "DEL");
}

async function check(call: Call): Promise<void> {
  const { config, world } = call;
  if (config.version === "0.3.1") throw new CniError(CNI_CODE.incompatibleVersion, "CHECK came with CNI 0.4.0");
  const key = parseCniKey(world.env);
  const netns = parseCniNamespace(world.env);
  await world.ask({
    kind: "cni-check",
    ...configOf(config),
    ...key,
    netns,
    addresses: previousAddresses(config, key.interfaceName),
  });
  if (hasForeignIpam(config)) await askIpam(call, "CHECK");
}

async function collect(call: Call): Promise<void> {
  const { config, world } = call;
  if (config.version !== "1.1.0") throw new CniError(CNI_CODE.incompatibleVersion, "GC came with CNI 1.1.0");
  const valid = (config["cni.dev/valid-attachments"] ?? []).map(
    ({ containerID: containerId, ifname: interfaceName }) => ({
      containerId,
      interfaceName,
    }),
  );
  await world.ask({ kind: "cni-gc", ...configOf(config), valid });
  if (hasForeignIpam(config)) await askIpam(call, "GC");
}

async function status({ config, world }: Call): Promise<void> {
  try {
    await world.ask({ kind: "cni-status", network: config.network });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new CniError(CNI_CODE.notAvailable, error.message, error.hint);
  }
}

function configOf(config: CniConfig): { readonly config: string } {
  return { config: config.name };
}

/** Addresses of this interface in the result that ADD gave, which CHECK gets back. */
function previousAddresses(config: CniConfig, interfaceName: string): readonly string[] {
  const previous = config.prevResult;
  if (!isRecord(previous) || !Array.isArray(previous["ips"]) || !Array.isArray(previous["interfaces"])) return [];
  const interfaces: readonly unknown[] = previous["interfaces"];
  const index = interfaces.findIndex((each) => isRecord(each) && each["name"] === interfaceName && "sandbox" in each);
  const ips: readonly unknown[] = previous["ips"];
  return ips.flatMap((each) =>
    isRecord(each) && each["interface"] === index && typeof each["address"] === "string" ? [each["address"]] : [],
  );
}

/** Without a type, or with ours, addresses come from the agent. */
function hasForeignIpam({ ipam, type }: CniConfig): boolean {
  return ipam.type !== undefined && ipam.type !== "" && ipam.type !== type;
}

async function askIpam({ config, text, world }: Call, command: string): Promise<string> {
  const type = config.ipam.type ?? "";
  const path = (world.env["CNI_PATH"] ?? "")
    .split(":")
    .map((directory) => `${directory}/${type}`)
    .find((each) => /^[\w.-]+$/.test(type) && world.isFile(each));
  if (path === undefined) {
    throw new CniError(CNI_CODE.invalidConfig, `IPAM plugin "${type}" is in no directory of CNI_PATH`);
  }
  const env = Object.fromEntries(
    Object.entries(world.env).flatMap(([name, value]) =>
      name.startsWith("CNI_") && value !== undefined ? [[name, value]] : [],
    ),
  );
  const { code, stdout, stderr } = await world.runner.run([path], {
    stdin: text,
    env: { ...env, CNI_COMMAND: command },
    timeoutMs: IPAM_MS_MAX,
    okCodes: Array.from({ length: 256 }, (_, index) => index),
  });
  if (code === 0) return stdout;
  throw new CniError(CNI_CODE.internal, `IPAM plugin "${type}" failed`, (stdout || stderr).trim().slice(0, 1000));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
