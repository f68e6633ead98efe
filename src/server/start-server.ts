import { join } from "node:path";
import { isBlocking, isLargeBody } from "../api/consul/handler.ts";
import { createMarathonHandler } from "../api/marathon/handler.ts";
import { createNativeHandler } from "../api/native/handler.ts";
import { AccessControl, type Authorize, authorizeWith } from "../cluster/access.ts";
import type { ScriptChecks } from "../model/host-check.ts";
import type { Host } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { formatEndpoint } from "../model/ip6.ts";
import { checkRangeClash, chooseBlock } from "../network/blocks.ts";
import { prefixRouter } from "../platform/http/prefix-router.ts";
import { type RunningServer, serveHttps } from "../platform/http/serve-https.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { HttpHandler, HttpRequest } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store, StoreWrite } from "../platform/ports/store.ts";
import { openIdentity } from "../platform/tls/identity.ts";
import { ClusterServer } from "./cluster-server.ts";
import { ConsoleAssets } from "./console-assets.ts";
import { ConsoleFeed } from "./console-feed.ts";
import { consoleHandler, toConsole } from "./console-handler.ts";
import { HostMembers } from "./host-members.ts";
import { LeftMembers } from "./left-members.ts";
import { feedState, nativeServices } from "./native-services.ts";
import { openSecrets } from "./secrets.ts";
import type { ServerConfig } from "./server-config.ts";
import type { ServerGroup } from "./server-group.ts";
import { startConsul, type StartedConsul } from "./start-consul.ts";
import { ServerViews } from "./server-views.ts";

export interface ServerAdapters {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly digest: Digest;
  readonly log: Log;
  /** Ends this node when a client of Consul's API asks it to leave; missing: it cannot be asked so. */
  readonly leave?: () => Promise<void>;
  /** What this machine runs of the scripts that a request registers; missing: as the configuration says. */
  readonly scripts?: (request: HttpRequest) => ScriptChecks;
  /** When this is one of several servers. */
  readonly group?: ServerGroup;
  readonly joinGraceTicks?: (host: Host) => number | undefined;
  /** Puts something around all that is answered over HTTP. */
  readonly around?: (handle: HttpHandler) => HttpHandler;
}

export interface StartedServer {
  readonly cluster: ClusterServer;
  readonly http: RunningServer;
  readonly consul: StartedConsul;
  readonly url: string;
  readonly adminFile: string;
  readonly joinToken: string;
  /** Loops; resolves when they ended after an abort. */
  readonly done: Promise<void>;
}

/** Opens store and secrets, listens, and runs the loops until `signal` aborts. */
export async function startServer(
  config: ServerConfig,
  adapters: ServerAdapters,
  signal: AbortSignal,
): Promise<StartedServer> {
  const { store, clock, random, digest, log, leave, scripts, group, joinGraceTicks, around } = adapters;
  const identity = await openIdentity(join(config.dataDir, "tls"), config.advertise, clock.nowMs());
  const url = `https://${formatEndpoint(config.advertise[0] ?? "127.0.0.1", config.port)}`;
  const { dataDir, resetAdminToken } = config;
  const { ca, caFingerprint } = identity;
  const secrets = await openSecrets({ store, random, digest, dataDir, url, ca, caFingerprint, resetAdminToken });
  const grace = joinGraceTicks === undefined ? {} : { joinGraceTicks };
  const cluster = await ClusterServer.open({ store, clock, random, log, initial: config.initial, ...grace });
  if (config.range6IsGiven) await cluster.state.addRange6(config.initial.range6 ?? null);
  const views = new ServerViews(cluster, config.version, () => clock.nowMs());
  const left = await LeftMembers.load(store, clock);
  const farewell = (host: Host): readonly StoreWrite[] => left.farewell(host);
  const members = new HostMembers({ server: cluster, clock, random, digest, chooseBlock, checkRangeClash, farewell });
  const feed = new ConsoleFeed(() => feedState(cluster, views), clock);
  cluster.onChange(() => feed.poke());
  const anonymous = config.anonymousPort !== null;
  const hostByCredential = (hash: string): HostId | null => hostWith(cluster, hash);
  const access = new AccessControl({ ...secrets, anonymous, hostByCredential }, digest, () => clock.nowMs());
  const authorize = authorizeWith(access);
  const { version } = config;
  const services = nativeServices({
    server: cluster,
    views,
    members,
    feed,
    access,
    version,
    ca,
    joinToken: secrets.joinToken,
    random,
    log,
  });
  const native = createNativeHandler({ apps: cluster.apps, services, authorize });
  const marathon = marathonOf(config, { cluster, authorize, clock, url });
  const consul = await startConsul(
    { cluster, members, left, access, digest, random, clock, log, leave, scripts, group },
    config,
  );
  const handle = await routerOf({ native, marathon, consul: consul.handle });
  const https = serveHttps({
    hostname: config.bind,
    port: config.port,
    identity,
    plainPort: config.anonymousPort,
    handle: around?.(handle) ?? handle,
    isLong: isBlocking,
    isLarge: isLargeBody,
    clock,
    onInternalError: (id, error, request) => log.error("request failed", { id, error, ...request }),
  });
  const http = { ...https, close: (graceMs: number) => consul.close(graceMs).then(() => https.close(graceMs)) };
  return {
    cluster,
    http,
    consul,
    url,
    adminFile: secrets.adminFile,
    joinToken: secrets.joinToken,
    done: cluster.run(signal),
  };
}

interface Handlers {
  readonly native: HttpHandler;
  readonly marathon: HttpHandler;
  readonly consul: HttpHandler;
}

async function routerOf({ native, marathon, consul }: Handlers): Promise<HttpHandler> {
  return prefixRouter(
    [
      { prefix: "/api", handle: native },
      { prefix: "/v2", handle: marathon },
      { prefix: "/ping", handle: marathon },
      { prefix: "/v1", handle: consul },
      { prefix: "/ui", handle: consoleHandler(await ConsoleAssets.open()) },
    ],
    toConsole,
  );
}

function hostWith(cluster: ClusterServer, credentialHash: string): HostId | null {
  return [...cluster.state.hosts.values()].find((host) => host.credentialHash === credentialHash)?.id ?? null;
}

interface MarathonParts {
  readonly cluster: ClusterServer;
  readonly authorize: Authorize;
  readonly clock: Clock;
  readonly url: string;
}

function marathonOf(config: ServerConfig, { cluster, authorize, clock, url }: MarathonParts): HttpHandler {
  return createMarathonHandler({
    apps: cluster.apps,
    authorize,
    nowMs: () => clock.nowMs(),
    version: config.version,
    leader: url.slice("https://".length),
    httpsPort: config.port,
    plainPort: config.anonymousPort,
  });
}
