/** A server's time in office: the whole server over the store in etcd, until another one may lead. */
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import type { EtcdGateway } from "../platform/etcd/etcd-gateway.ts";
import { EtcdStore } from "../platform/etcd/etcd-store.ts";
import type { Office } from "../platform/etcd/office.ts";
import type { Host } from "../model/host.ts";
import type { HttpHandler } from "../platform/ports/http.ts";
import { startServer } from "../server/start-server.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { serverConfigOf } from "./run-alone.ts";
import { Formation } from "./formation.ts";
import { HeardBefore } from "./heard-before.ts";
import type { DiscoveryRun } from "./run-node.ts";
import { scriptsOf } from "./script-rules.ts";
import { ServerMembers } from "./server-members.ts";
import { ETCD_PREFIX, ServerRecords } from "./server-records.ts";
import { openServerToken } from "./server-token.ts";
import { SERVERS_PATH, serversHandler } from "./servers-api.ts";
import { notLeading } from "./standby.ts";

/** What a server that is one of several works with. */
export interface GroupWorld {
  readonly config: DiscoveryConfig;
  readonly run: DiscoveryRun;
  readonly gateway: EtcdGateway;
}

/** Requests under way when a server leaves office: their answers would not count. */
const CLOSE_GRACE_MS = 300;

/** Leads until the office is lost or `signal` aborts. */
export async function runTerm(
  { config, run, gateway }: GroupWorld,
  office: Office,
  signal: AbortSignal,
): Promise<void> {
  const [clock, random, digest, log] = [systemClock, systemRandom, nodeDigest, run.log];
  const end = AbortSignal.any([signal, office.lost]);
  const store = await EtcdStore.open({ gateway, office, clock, random, prefix: ETCD_PREFIX });
  const group = await ServerRecords.load(store, gateway);
  const formation = await Formation.open(store, config, log);
  let servers: HttpHandler = (request) => Promise.resolve(notLeading(request));
  const around = (handle: HttpHandler): HttpHandler =>
    whileLeading(office, async (request) => {
      const refused = formation.refuse(request);
      if (refused !== null) return refused;
      return request.path.startsWith(`${SERVERS_PATH}/`) ? servers(request) : handle(request);
    });
  const heard = await HeardBefore.load(store, config.node);
  const joinGraceTicks = (host: Host): number | undefined => heard.graceTicks(host);
  const adapters = { store, clock, random, digest, log, group, around, joinGraceTicks, scripts: scriptsOf(config) };
  const made = serverConfigOf(config, run.version);
  // The node of this process serves HTTP, whoever leads.
  const server = await startServer({ ...made, consul: { ...made.consul, listen: null } }, adapters, end);
  try {
    heard.follow(server.cluster);
    const { joinToken } = server;
    const { dataDir } = config;
    const token = await openServerToken({ store, random, digest, dataDir, joinToken });
    const members = new ServerMembers({ gateway, records: group, formation, server, token, dataDir, clock, log });
    servers = serversHandler(members);
    log.info(formation.waits ? "This server waits for the others" : "This server leads", { node: config.node });
    await members.run(end);
  } finally {
    await server.http.close(CLOSE_GRACE_MS);
    await server.done;
    await store.close();
  }
}

/** An answer counts if the office was held when it was complete: what was read before could be old else. */
function whileLeading(office: Office, handle: HttpHandler): HttpHandler {
  return async (request) => {
    if (!office.holds()) return notLeading(request);
    const answer = await handle(request);
    return office.holds() ? answer : notLeading(request);
  };
}
