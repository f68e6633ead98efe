import { hostname } from "node:os";
import type { ConsulBackend, Member } from "../api/consul/backend.ts";
import { CONSUL_VERSION } from "../api/consul/agent-routes.ts";
import { createConsulHandler, isBlocking, isLargeBody } from "../api/consul/handler.ts";
import { CLIENT_REQUESTS_MAX, limitClients } from "../api/consul/limit-clients.ts";
import { limitRate } from "../api/consul/limit-rate.ts";
import { readToken } from "../api/consul/call.ts";
import type { AccessControl, Principal } from "../cluster/access.ts";
import { readPassedOn } from "../cluster/passed-on.ts";
import { AclResolver } from "../discovery/registry/acl/acl-resolver.ts";
import { type PlatformHost, SERVER_PORT } from "../discovery/registry/platform-catalog.ts";
import { RegisteredEndpoints } from "../discovery/registry/registered-endpoints.ts";
import { openRegistry, type RegistryParts } from "../discovery/registry/registry-parts.ts";
import { registryError } from "../discovery/registry/registry-error.ts";
import { topic } from "../discovery/registry/touched.ts";
import { unjudged } from "../model/endpoint.ts";
import { AppError } from "../model/error.ts";
import type { ScriptChecks } from "../model/host-check.ts";
import { serveHttp } from "../platform/http/serve-https.ts";
import { readHostInfo } from "../platform/linux/read-host-info.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { HttpHandler, HttpRequest } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { ClusterServer } from "./cluster-server.ts";
import { callerOf, hostOf, type ConsulAccessDeps } from "./consul-access.ts";
import { relayHostChecks } from "./host-check-relay.ts";
import type { HostMembers } from "./host-members.ts";
import type { LeftMembers } from "./left-members.ts";
import { reapMembers } from "./reap-members.ts";
import type { ServerConfig } from "./server-config.ts";
import type { ServerGroup } from "./server-group.ts";

export interface ConsulDeps {
  readonly cluster: ClusterServer;
  readonly members: HostMembers;
  readonly left: LeftMembers;
  readonly access: AccessControl;
  readonly digest: Digest;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Log;
  /** See `ServerAdapters`. */
  readonly leave?: (() => Promise<void>) | undefined;
  readonly scripts?: ((request: HttpRequest) => ScriptChecks) | undefined;
  readonly group?: ServerGroup | undefined;
}

export interface StartedConsul {
  readonly handle: HttpHandler;
  readonly parts: RegistryParts;
  /** Of the plain listener, null when there is none. */
  readonly port: number | null;
  close(graceMs: number): Promise<void>;
}

/** Further ones are answered over HTTP alone. */
const QUERIES_MAX = 2000;

/** Opens the registry, keeps it in step with the cluster, and serves it in plain HTTP where the configuration says so. */
export async function startConsul(deps: ConsulDeps, config: ServerConfig): Promise<StartedConsul> {
  const { cluster, clock, random, digest } = deps;
  const parts = await openRegistry({ store: cluster.state.store, clock, random, digest });
  const self = config.consul.node ?? serverName();
  const own = { config, self, left: deps.left, group: deps.group ?? null };
  followCluster(deps, parts, own);
  relayHostChecks({ parts, hub: cluster.hub, hosts: cluster.state, log: deps.log });
  const { rates } = config.consul;
  const unlimited = createConsulHandler(backendOf(deps, parts, own));
  const handle = rates === undefined ? unlimited : limitRate(unlimited, rates, clock);
  const plain = listenPlain(deps, config, handle);
  const end = new AbortController();
  const reaping = reap(deps, config, end.signal);
  const close = async (graceMs: number): Promise<void> => {
    // First: who waits for a change would else hold up the end.
    parts.close();
    end.abort();
    await Promise.all([reaping, plain?.close(graceMs)]);
  };
  return { handle, parts, port: plain?.port ?? null, close };
}

async function reap(
  { cluster, members, clock, log }: ConsulDeps,
  { consul }: ServerConfig,
  signal: AbortSignal,
): Promise<void> {
  if (consul.reapAfterMs === undefined) return;
  await reapMembers(
    {
      afterMs: consul.reapAfterMs,
      hosts: () => cluster.state.hosts.values(),
      isDown: (id) => cluster.liveness.presenceOf(id).phase === "down",
      remove: (name) => members.remove(name, false),
      clock,
      log,
    },
    signal,
  );
}

interface Self {
  readonly config: ServerConfig;
  /** Name of the node that this server is. */
  readonly self: string;
  readonly left: LeftMembers;
  /** Null: this is the only server. */
  readonly group: ServerGroup | null;
}

/** The first label of the machine's name, as an agent on it takes it for its host. */
function serverName(): string {
  const label = (hostname().split(".")[0] ?? "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return label === "" ? "server" : label.slice(0, 63);
}

function followCluster({ cluster, digest }: ConsulDeps, parts: RegistryParts, own: Self): void {
  const { catalog } = cluster;
  const setHosts = (): void => {
    const hosts = hostsOf(cluster, digest, own);
    own.left.see(hosts);
    parts.platform.setHosts(hosts);
  };
  setHosts();
  own.group?.onChange(setHosts);
  parts.platform.resetEndpoints(catalog.list().map(unjudged));
  catalog.subscribe((delta) => {
    if (delta.hosts !== null) setHosts();
    parts.platform.applyEndpoints(delta.upsert.map(unjudged), delta.remove);
  });
  tellAgents(cluster, parts, own);
  new RegisteredEndpoints(parts.registry, {
    change: (change) => catalog.applyRegistered(change),
    judge: (what, name, said) => catalog.judge(what, name, said),
  });
}

/** Prepared queries are few, and agents answer them in DNS: all of them go out with every change. Their tokens stay here. */
function tellAgents({ hub }: ClusterServer, { registry }: RegistryParts, { config, group }: Self): void {
  const { acl } = config.consul;
  const tell = (): void => {
    const queries = registry.tables
      .list("query", "")
      .slice(0, QUERIES_MAX)
      .map(({ id, name, template, service, dnsTtl }) => ({ id, name, template, service, dnsTtl }));
    hub.tellConsul({ acl, queries, ...(group === null ? {} : { servers: group.list().map(({ url }) => url) }) });
  };
  tell();
  group?.onChange(tell);
  registry.onTouched(({ topics }) => (topics.has(topic.queries) ? tell() : undefined));
}

function hostsOf(cluster: ClusterServer, digest: Digest, { config, self, group }: Self): readonly PlatformHost[] {
  const meta = { "consul-version": CONSUL_VERSION };
  const ownPort = config.consul.serverPort ?? SERVER_PORT;
  const servers = new Map(
    group === null
      ? [[self, ownPort]]
      : group.list().map(({ name, peer }) => [name, Number(peer.slice(peer.lastIndexOf(":") + 1))]),
  );
  const hosts = cluster.catalog.hosts().map(({ name, address, up }): PlatformHost => {
    const id = cluster.state.hostByName(name)?.id ?? "";
    const serverPort = servers.get(name);
    return {
      id,
      name,
      address,
      up,
      server: serverPort !== undefined,
      ...(serverPort !== undefined && { serverPort }),
      meta,
    };
  });
  if (hosts.some(({ name }) => name === self)) return hosts;
  const address = config.advertise[0] ?? "127.0.0.1";
  return [
    ...hosts,
    { id: uuidOf(digest, self), name: self, address, up: true, server: true, serverPort: ownPort, meta },
  ];
}

/** The server's own, the same after every start. */
function uuidOf(digest: Digest, name: string): string {
  const hex = digest.sha256(`server ${name}`);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function backendOf(deps: ConsulDeps, parts: RegistryParts, own: Self): ConsulBackend {
  const { cluster, access, digest } = deps;
  const { config, self } = own;
  const aclEnabled = config.consul.acl !== "off";
  const defaultPolicy = config.consul.acl === "deny" ? "deny" : "allow";
  const hostName = (principal: Principal): string | null =>
    principal.kind === "host" ? (cluster.state.hosts.get(principal.hostId)?.name ?? null) : null;
  const resolver = new AclResolver(parts.registry, defaultPolicy);
  const { group } = own;
  const isServer = (name: string): boolean => group?.list().some((server) => server.name === name) === true;
  const accessDeps: ConsulAccessDeps = {
    access,
    resolver,
    aclEnabled,
    hostName,
    isServer,
    // Where nodes run containers, removing one moves them: that is an operator's decision.
    clientsRemoveMembers: deps.leave !== undefined,
  };
  const alone = (): string =>
    `${parts.registry.view.node(self)?.address ?? "127.0.0.1"}:${config.consul.serverPort ?? SERVER_PORT}`;
  const address = (): string => group?.list().find(({ name }) => name === self)?.peer ?? alone();
  const localNode = (request: HttpRequest): string => {
    const passedOn = readPassedOn(request);
    const host = passedOn === null ? null : hostOf(accessDeps, passedOn);
    if (host !== null) return host;
    const principal = access.principalOf(readToken(request));
    return (principal === null ? null : hostName(principal)) ?? self;
  };
  const ownScripts = deps.scripts ?? ((): ScriptChecks => (config.consul.scripts ? "all" : "off"));
  return {
    parts,
    version: config.version,
    aclEnabled,
    defaultPolicy,
    datacenter: () => cluster.state.settings.datacenter,
    localNode,
    scripts: (request) => {
      const passedOn = readPassedOn(request);
      if (passedOn !== null && hostOf(accessDeps, passedOn) !== null) return passedOn.scripts;
      // What another host runs is not known here.
      return localNode(request) === self ? ownScripts(request) : null;
    },
    leader: address,
    peers: () => group?.list().map(({ peer }) => peer) ?? [address()],
    members: () => [
      ...hostsOf(cluster, digest, own).map((host): Member => ({ ...host, status: host.up ? "alive" : "failed" })),
      ...own.left.list().map((host): Member => ({ ...host, status: "left" })),
    ],
    caller: (request, token) => callerOf(accessDeps, request, token),
    forceLeave: async (node, prune) => {
      // Of a server that was taken out half-way only its place in the group is left.
      if (!isServer(node) || cluster.state.hostByName(node) !== null) await forceLeave(deps, own, { node, prune });
      await group?.remove(node);
    },
    ...(deps.leave === undefined ? {} : { leave: leaveAs(self, deps.leave) }),
    startedAtMs: cluster.startedAtMs,
    memory: () => {
      const { heapUsed, rss } = process.memoryUsage();
      return { usedBytes: heapUsed, residentBytes: rss };
    },
    hostInfo: () => readHostInfo(deps.clock.nowMs()),
  };
}

async function forceLeave(
  { cluster, members }: ConsulDeps,
  { left }: Self,
  { node, prune }: { readonly node: string; readonly prune: boolean },
): Promise<void> {
  if (cluster.state.hostByName(node) !== null) await members.remove(node, false);
  else if (!left.has(node)) throw registryError(500, `agent: No node found with name '${node}'`);
  if (prune) await left.forget(node);
}

/** A node whose process passed the request on leaves by itself once it hears that it may. */
function leaveAs(self: string, leave: () => Promise<void>): (node: string) => Promise<void> {
  return (node) => (node === self ? leave() : Promise.resolve());
}

/** A port that is taken keeps nobody from migrating: Consul itself may still run here. One that was asked for is an error. */
function listenPlain(
  deps: ConsulDeps,
  { consul, advertise, port }: ServerConfig,
  handle: HttpHandler,
): ReturnType<typeof serveHttp> | null {
  const { clock, log } = deps;
  if (consul.listen === null) return null;
  // The console is on the HTTPS port alone.
  const toConsole = `https://${advertise[0] ?? "127.0.0.1"}:${port}/ui/`;
  try {
    return serveHttp({
      hostname: consul.listen.bind,
      port: consul.listen.port,
      handle: limitClients(
        (request) =>
          request.path === "/"
            ? Promise.resolve({ status: 301, headers: { location: toConsole }, body: "" })
            : handle(request),
        { max: consul.clientMax ?? CLIENT_REQUESTS_MAX },
      ),
      isLong: isBlocking,
      isLarge: isLargeBody,
      clock,
      onInternalError: (id, error, request) => log.error("request failed", { id, error, ...request }),
    });
  } catch (error) {
    if (consul.listenIsGiven || !(error instanceof AppError)) throw error;
    log.warn("Consul's API is not served in plain HTTP", { error: error.message });
    return null;
  }
}
