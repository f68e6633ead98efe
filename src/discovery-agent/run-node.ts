/** The node that each process is, server or client: how it becomes a member, runs, and ends its membership. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Standby } from "../agent/consul-part.ts";
import { joinCluster, type Membership, readMembership } from "../agent/join.ts";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import type { Log } from "../platform/ports/log.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { callHandler } from "./call-handler.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { type DiscoveryNode, startDiscoveryNode } from "./discovery-parts.ts";
import { type LocalApi, registerDefinitions } from "./local-definitions.ts";
import { isLoopback, readToken } from "./local-token.ts";
import { OWN_DEFINITION } from "./script-rules.ts";
import { runWatches, type WatchAnswer, type WatchDeps } from "./run-watches.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

export interface DiscoveryRun {
  readonly version: string;
  readonly log: Log;
  /** When the process began, for the line that says how soon it was ready. */
  readonly startedMs: number;
}

export interface NodeRun {
  readonly run: DiscoveryRun;
  readonly membership: Membership;
  /** `PUT agent/leave`; null where the server in this process serves HTTP itself. */
  readonly leave: (() => Promise<void>) | null;
  /** On one of several servers. */
  readonly standby?: Standby;
}

const JOIN_RETRY_MS = 250;
const CONNECT_WAIT_MS = 1000;

/** One membership, until `signal` aborts or the cluster has ended it. Returns the servers that it was told of. */
export async function runNode(
  config: DiscoveryConfig,
  { run, membership, leave, standby }: NodeRun,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const end = new AbortController();
  const stop = (): void => end.abort();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  const { log, version: agentVersion } = run;
  const deps = { membership, agentVersion, log, leave, ...(standby && { standby }) };
  const node = await startDiscoveryNode(config, deps, end.signal);
  node.state.on("connection", () => (node.state.isRemoved() ? stop() : undefined));
  const connected = untilConnected(node, end.signal).then(() => sayReady(config, run, node.state.connected));
  const registered = diskFile(join(config.dataDir, "definitions.json"));
  const local = { api: localApi(config), file: registered, clock: systemClock, log };
  const registering = registerDefinitions(config, local, end.signal);
  const watching = runWatches(config.watches, watchDeps(config, log), end.signal);
  await Promise.all([node.done, registering, connected, watching]);
  signal.removeEventListener("abort", stop);
  return node.state.consul?.servers ?? [];
}

/** Without a server a node serves what it knew last, so it does not wait for one for long. */
async function untilConnected(node: DiscoveryNode, signal: AbortSignal): Promise<void> {
  const nap = new AbortController();
  const wake = (): void => nap.abort();
  const stop = node.state.on("connection", () => (node.state.connected ? wake() : undefined));
  signal.addEventListener("abort", wake);
  if (!node.state.connected) await systemClock.sleep(CONNECT_WAIT_MS, nap.signal);
  signal.removeEventListener("abort", wake);
  stop();
}

/** Registered services stay in the files that name them, so nothing is lost with these. */
export async function forgetMembership({ dataDir }: Pick<DiscoveryConfig, "dataDir">): Promise<void> {
  for (const name of ["agent.json", "last-known.json"]) await rm(join(dataDir, name), { force: true });
}

export interface Joining {
  /** Servers to join, and to connect to: each `https://HOST:PORT`. */
  readonly urls: readonly string[];
  readonly token: string | null;
  readonly log: Log;
}

/** The membership on disk, or a join; a server that is not there yet is waited for. Null after an abort. */
export async function findMembership(
  config: DiscoveryConfig,
  joining: Joining,
  signal: AbortSignal,
): Promise<Membership | null> {
  const { urls, log } = joining;
  const known = await readMembership(diskFile(join(config.dataDir, "agent.json")));
  // Where the servers are may have changed; who this node is has not.
  if (known !== null && known.name === config.node) return urls.length === 0 ? known : { ...known, serverUrls: urls };
  if (urls.length === 0) {
    throw new AppError("invalid", `Cannot start node "${config.node}": it is no member of a cluster yet`, {
      hint: "Add --join ADDRESS, or --server --bootstrap to begin a cluster here",
    });
  }
  let told = "";
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const membership = await joinOver(config, joining, urls[attempt % urls.length] ?? "");
      return { ...membership, serverUrls: urls };
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "unavailable") throw error;
      if (error.message !== told) log.warn(error.message, { hint: error.hint });
      told = error.message;
      await systemClock.sleep(JOIN_RETRY_MS, signal);
    }
  }
  return null;
}

function joinOver(config: DiscoveryConfig, { token }: Joining, serverUrl: string): Promise<Membership> {
  const { hostname, port } = new URL(serverUrl);
  const local = isLoopback(hostname) ? readToken(`${hostname}:${port}`) : null;
  const shown = token ?? local;
  if (shown === null) {
    // On this machine the server may only not have begun yet; elsewhere no waiting brings a token.
    throw new AppError(
      isLoopback(hostname) ? "unavailable" : "invalid",
      `Cannot join ${serverUrl}: no token is known for it`,
      {
        hint: "Pass --token-file with the file join-token of the server's data directory, or set APOLLO_TOKEN",
      },
    );
  }
  const { node: name, bind: address } = config;
  const wish = { serverUrl, token: shown, name, address, labels: {}, hostRanges: [] };
  const resources = { cpus: 0, memoryMiB: 0, diskMiB: 0 };
  const file = diskFile(join(config.dataDir, "agent.json"));
  return joinCluster({ ...wish, resources }, httpsJoinClient(SERVER_TLS_NAME), file);
}

function localApi(config: DiscoveryConfig): LocalApi {
  return (method, path, body) =>
    askSelf(config, path, { method, token: config.definitionsToken, body, headers: OWN_DEFINITION });
}

function watchDeps(config: DiscoveryConfig, log: Log): WatchDeps {
  const runner = new ProcessRunner();
  return {
    ask: (target, token, signal) =>
      askSelf(config, `/v1/${target}`, { method: "GET", token: token ?? config.definitionsToken, signal }),
    call: (handler, body, index) => callHandler(runner, handler, { body, index }),
    clock: systemClock,
    log,
  };
}

interface OwnRequest {
  readonly method: string;
  readonly token: string | null;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

async function askSelf(
  { client, httpPort }: DiscoveryConfig,
  path: string,
  { method, token, body, headers, signal }: OwnRequest,
): Promise<WatchAnswer> {
  const host = client === "0.0.0.0" ? "127.0.0.1" : client;
  try {
    const answer = await fetch(`http://${host}:${httpPort}${path}`, {
      method,
      headers: { ...headers, ...(token === null ? {} : { "x-consul-token": token }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
      // A wait may take minutes.
      timeout: false,
    } as RequestInit);
    return { status: answer.status, text: await answer.text(), index: answer.headers.get("x-consul-index") ?? "" };
  } catch (cause) {
    throw new AppError("unavailable", `Cannot reach this node's own API at ${host}:${httpPort}`, { cause });
  }
}

/** A cluster that cannot be told will notice; `force-leave` on another node ends the membership then. */
export async function leaveCluster(membership: Membership, urls: readonly string[], log: Log): Promise<void> {
  const client = httpsJoinClient(SERVER_TLS_NAME);
  const { credential: bearer, caPem } = membership;
  for (const url of new Set([...urls, ...membership.serverUrls])) {
    try {
      await client.post({ url, path: "/api/leave", bearer, caPem, body: {} });
      log.info("Left the cluster", { node: membership.name });
      return;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      log.warn(error.message, { hint: `apollo discovery force-leave ${membership.name}` });
    }
  }
}

function sayReady(config: DiscoveryConfig, { log, startedMs }: DiscoveryRun, connected: boolean): void {
  log.info("Ready", {
    node: config.node,
    mode: config.server ? "server" : "client",
    http: `http://${config.client}:${config.httpPort}`,
    dns: `${config.client}:${config.dnsPort}`,
    connected,
    cluster: `${config.bind}:${config.clusterPort}`,
    readyMs: Math.round(systemClock.monotonicMs() - startedMs),
  });
}
