/** The agent's parts that discovery alone needs, wired to this machine: no root, no kernel, no containers. */
import { join } from "node:path";
import { AgentState, type AgentPart } from "../agent/agent-state.ts";
import { createChecksPart } from "../agent/checks-part.ts";
import { createConsulPart, type Standby } from "../agent/consul-part.ts";
import { createDnsPart } from "../agent/dns-part.ts";
import type { Membership } from "../agent/join.ts";
import { createLastKnownPart, loadLastKnown } from "../agent/last-known.ts";
import { createLinkPart } from "../agent/link-part.ts";
import { createLocalHealthPart } from "../agent/local-health-part.ts";
import { type HostResolver, ResolverFile } from "../agent/resolver-file.ts";
import { LocalHealth } from "../discovery/health/local-health.ts";
import { HostCheckRunner } from "../platform/checks/host-check-runner.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { BunHttpListener } from "../platform/http/bun-http-listener.ts";
import { readHostInfo } from "../platform/linux/read-host-info.ts";
import type { HttpRequest } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import { httpsServerApi } from "../platform/server-client/https-server-api.ts";
import { webSocketTransport } from "../platform/server-client/web-socket-transport.ts";
import { BunDatagramClient } from "../platform/udp/bun-datagram-client.ts";
import { BunListener } from "../platform/udp/bun-listener.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { noEngine } from "./no-engine.ts";
import { localScripts, scriptsOf } from "./script-rules.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

export interface DiscoveryNode {
  readonly state: AgentState;
  /** Resolves when all parts have ended after an abort. */
  readonly done: Promise<void>;
}

export interface DiscoveryNodeDeps {
  readonly membership: Membership;
  readonly agentVersion: string;
  readonly log: Log;
  /** On one of several servers. */
  readonly standby?: Standby;
  /** `PUT agent/leave`; null in the process of a server that serves HTTP itself. */
  readonly leave: (() => Promise<void>) | null;
}

const LEAVE = "/v1/agent/leave";
const UPSTREAM_DNS_PORT = 53;
/** Nothing is ever placed on it. */
const NO_RESOURCES = { cpus: 0, memoryMiB: 0, diskMiB: 0 } as const;

/** Starts a node from what it knew last. @throws AppError when its file cannot be read. */
export async function startDiscoveryNode(
  config: DiscoveryConfig,
  { membership, agentVersion, log, leave, standby }: DiscoveryNodeDeps,
  signal: AbortSignal,
): Promise<DiscoveryNode> {
  const [clock, random] = [systemClock, systemRandom];
  const file = diskFile(join(config.dataDir, "last-known.json"));
  const state = new AgentState();
  const known = await loadLastKnown(file, log);
  if (known !== null && known.identity?.hostId === membership.hostId) state.restore(known);
  // It has no containers, and says so: the cluster waits until each member has told its part.
  state.setReportsKnown();
  state.setLocalEndpoints([]);
  const local = new LocalHealth(clock);
  const runner = new HostCheckRunner({ engine: null, allowsScript: localScripts(config) });
  const parts: readonly AgentPart[] = [
    createLocalHealthPart({ state, local }),
    createLastKnownPart({ state, file, clock, log }),
    createChecksPart({ state, runner, clock, random, local }),
    createDnsPart({
      state,
      listener: new BunListener(),
      datagrams: new BunDatagramClient(clock),
      clock,
      random,
      log,
      gateway: () => config.client,
      ports: { gateway: config.dnsPort, loopback: null, upstream: UPSTREAM_DNS_PORT },
      resolver: readOnly(new ResolverFile({ dataDirectory: config.dataDir })),
    }),
    ...(leave === null
      ? []
      : [httpPart(config, { state, membership, agentVersion, log, leave, ...(standby && { standby }) })]),
    createLinkPart({
      state,
      engine: noEngine,
      transport: webSocketTransport({ ...membership, serverName: SERVER_TLS_NAME }),
      clock,
      random,
      log,
      serverUrls: membership.serverUrls,
      agentVersion,
      address: config.bind,
      labels: {},
      resources: () => Promise.resolve(NO_RESOURCES),
    }),
  ];
  return { state, done: Promise.all(parts.map((part) => part.run(signal))).then(() => undefined) };
}

interface HttpPartDeps extends DiscoveryNodeDeps {
  readonly state: AgentState;
  readonly leave: () => Promise<void>;
}

/** Consul's API of a client, as every host's agent serves it. */
function httpPart(
  config: DiscoveryConfig,
  { state, membership, agentVersion, log, leave, standby }: HttpPartDeps,
): AgentPart {
  const [clock, random] = [systemClock, systemRandom];
  const { credential, caPem } = membership;
  return createConsulPart({
    credential,
    access: "write",
    scripts: scriptsOf(config),
    version: agentVersion,
    state,
    listener: new BunHttpListener({ clock, log }),
    api: httpsServerApi({ caPem, serverName: SERVER_TLS_NAME }),
    isOurs: () => Promise.resolve(false),
    gateway: () => config.client,
    addresses: [config.client],
    port: config.httpPort,
    ...(config.clientMax === null ? {} : { clientMax: config.clientMax }),
    ...(standby && { standby }),
    // With ACLs the server says first who may.
    intercept: (request) =>
      isLeave(request) && (state.consul?.acl ?? "off") === "off"
        ? leave().then(() => ({ status: 200, headers: {}, body: "" }))
        : null,
    onForwarded: (request, status) => (isLeave(request) && status === 200 ? void leave() : undefined),
    hostInfo: () => readHostInfo(clock.nowMs()),
    digest: nodeDigest,
    clock,
    random,
    log,
  });
}

function isLeave({ path, method }: HttpRequest): boolean {
  return path === LEAVE && method === "PUT";
}

/** The machine's resolver is asked for names of others, and never changed. */
function readOnly(file: HostResolver): HostResolver {
  return {
    refresh: () => file.refresh(),
    nameservers: () => file.nameservers(),
    install: () => Promise.resolve(null),
    restore: () => Promise.resolve(null),
  };
}
