import { rm } from "node:fs/promises";
import { join } from "node:path";
import { SERVER_TLS_NAME } from "../agent/agent-config.ts";
import { joinCluster, type Membership, readMembership } from "../agent/join.ts";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import type { Log } from "../platform/ports/log.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { openServer } from "../server/main.ts";
import { makeServerConfig, type ServerConfig } from "../server/server-config.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { type DiscoveryNode, startDiscoveryNode } from "./discovery-parts.ts";
import { type LocalApi, registerDefinitions } from "./local-definitions.ts";
import { leaveToken, readToken } from "./local-token.ts";

export interface DiscoveryRun {
  readonly version: string;
  readonly log: Log;
  /** When the process began, for the line that says how soon it was ready. */
  readonly startedMs: number;
}

const JOIN_RETRY_MS = 250;
const CONNECT_WAIT_MS = 1000;
/** Reserved for nobody (RFC 1112 §4): a process without containers leases a block as every member, and it must be no one's network. */
const UNUSED_RANGE = "240.0.0.0/12";
const UNUSED_BLOCK_PREFIX = "28";

/** Server or client, until `signal` aborts or the node is told to leave; then everything ends in reverse order. */
export async function runDiscovery(config: DiscoveryConfig, run: DiscoveryRun, signal: AbortSignal): Promise<void> {
  const end = new AbortController();
  let leaving = false;
  const leave = (): Promise<void> => {
    leaving = true;
    // What asked for it gets its answer first.
    void systemClock.sleep(0).then(() => end.abort());
    return Promise.resolve();
  };
  const stop = (): void => end.abort();
  signal.addEventListener("abort", stop);
  if (signal.aborted) return;
  const serverEnd = new AbortController();
  const server = config.server
    ? await openServer(serverConfigOf(config, run.version), serverEnd.signal, { leave })
    : null;
  const place = `${config.bind}:${config.clusterPort}`;
  const hideToken = server === null || !isLoopback(config.bind) ? null : showToken(place, server.joinToken, run.log);
  const file = diskFile(join(config.dataDir, "agent.json"));
  try {
    const token = server?.joinToken ?? config.token;
    const joining = { token, file, log: run.log, self: `https://${place}` };
    while (!end.signal.aborted) {
      const membership = await findMembership(config, joining, end.signal);
      if (membership === null) break;
      await runNode(config, { run, membership, leave }, end.signal);
      const left = end.signal.aborted && (leaving || config.leaveOnTerminate);
      if (left) await leaveCluster(membership, run.log);
      // Left, or removed by others while it was away: then it joins anew.
      if (left || !end.signal.aborted) await forget(config, file.path);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    hideToken?.();
    serverEnd.abort();
    await server?.close();
  }
}

/** Others on this machine need it, and this process does not: a full disk is no reason to end. @throws AppError `denied`. */
function showToken(place: string, token: string, log: Log): (() => void) | null {
  try {
    return leaveToken(place, token);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "unavailable") throw error;
    log.warn(error.message, { hint: "Nodes on this machine need --token-file with the file join-token of this one" });
    return null;
  }
}

interface NodeRun {
  readonly run: DiscoveryRun;
  readonly membership: Membership;
  readonly leave: () => Promise<void>;
}

/** One membership, until `signal` aborts or the cluster has ended it. */
async function runNode(
  config: DiscoveryConfig,
  { run, membership, leave }: NodeRun,
  signal: AbortSignal,
): Promise<void> {
  const end = new AbortController();
  const stop = (): void => end.abort();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  const { log, version: agentVersion } = run;
  const node = await startDiscoveryNode(
    config,
    { membership, agentVersion, log, leave: config.server ? null : leave },
    end.signal,
  );
  node.state.on("connection", () => (node.state.isRemoved() ? stop() : undefined));
  const connected = untilConnected(node, end.signal).then(() => sayReady(config, run, node.state.connected));
  const registered = diskFile(join(config.dataDir, "definitions.json"));
  const deps = { api: localApi(config), file: registered, clock: systemClock, log };
  const registering = registerDefinitions(config, deps, end.signal);
  await Promise.all([node.done, registering, connected]);
  signal.removeEventListener("abort", stop);
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
async function forget(config: DiscoveryConfig, membershipPath: string): Promise<void> {
  for (const path of [membershipPath, join(config.dataDir, "last-known.json")]) await rm(path, { force: true });
}

function serverConfigOf(config: DiscoveryConfig, version: string): ServerConfig {
  const made = makeServerConfig(
    [
      {
        dataDir: config.dataDir,
        listen: `${config.bind}:${config.clusterPort}`,
        advertise: config.bind,
        range: UNUSED_RANGE,
        blockPrefix: UNUSED_BLOCK_PREFIX,
        datacenter: config.datacenter,
        dnsDomain: config.domain,
        encryption: "off",
        consulListen: `${config.client}:${config.httpPort}`,
      },
    ],
    { version, ownAddress: config.bind },
  );
  return { ...made, consul: { ...made.consul, listenIsGiven: true, node: config.node } };
}

interface Joining {
  readonly token: string | null;
  readonly file: ReturnType<typeof diskFile>;
  readonly log: Log;
  /** Of the server in this process. */
  readonly self: string;
}

/** The membership on disk, or a join; a server that is not there yet is waited for. Null after an abort. */
async function findMembership(
  config: DiscoveryConfig,
  joining: Joining,
  signal: AbortSignal,
): Promise<Membership | null> {
  const known = await readMembership(joining.file);
  const urls = config.server ? [joining.self] : config.join;
  // Where the servers are may have changed; who this node is has not.
  if (known !== null && known.name === config.node) return urls.length === 0 ? known : { ...known, serverUrls: urls };
  if (urls.length === 0) {
    throw new AppError("invalid", `Cannot start node "${config.node}": it is no member of a cluster yet`, {
      hint: "Add --join ADDRESS, or --server --bootstrap to begin a cluster here",
    });
  }
  let told = "";
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const serverUrl = urls[attempt % urls.length] ?? joining.self;
    try {
      return await joinOver(config, joining, serverUrl);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "unavailable") throw error;
      if (error.message !== told) joining.log.warn(error.message, { hint: error.hint });
      told = error.message;
      await systemClock.sleep(JOIN_RETRY_MS, signal);
    }
  }
  return null;
}

function joinOver(config: DiscoveryConfig, { token, file }: Joining, serverUrl: string): Promise<Membership> {
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
  return joinCluster({ ...wish, resources }, httpsJoinClient(SERVER_TLS_NAME), file);
}

function localApi(config: DiscoveryConfig): LocalApi {
  const host = config.client === "0.0.0.0" ? "127.0.0.1" : config.client;
  return async (method, path, body) => {
    try {
      const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
      const answer = await fetch(`http://${host}:${config.httpPort}${path}`, init);
      return { status: answer.status, text: await answer.text() };
    } catch (cause) {
      throw new AppError("unavailable", `Cannot reach this node's own API at ${host}:${config.httpPort}`, { cause });
    }
  };
}

/** A server that cannot be told will notice; `force-leave` on another node ends the membership then. */
async function leaveCluster(membership: Membership, log: Log): Promise<void> {
  const client = httpsJoinClient(SERVER_TLS_NAME);
  const { credential: bearer, caPem } = membership;
  const url = membership.serverUrls[0] ?? "";
  await client.post({ url, path: "/api/leave", bearer, caPem, body: {} }).catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    log.warn(error.message, { hint: `apollo discovery force-leave ${membership.name}` });
  });
  log.info("Left the cluster", { node: membership.name });
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

function isLoopback(address: string): boolean {
  return address === "localhost" || address.startsWith("127.");
}
