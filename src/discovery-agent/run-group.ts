/** One of several servers: its etcd, its turns as standby and in office, and its node. */
import type { Membership } from "../agent/join.ts";
import { parseJoinToken } from "../cluster/tokens.ts";
import { AppError, describeError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import type { EtcdProcess } from "../platform/etcd/etcd-process.ts";
import { EtcdReplica } from "../platform/etcd/etcd-replica.ts";
import { type Office, type OfficeOptions, readHolder, takeOffice } from "../platform/etcd/office.ts";
import { serveHttps } from "../platform/http/serve-https.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { httpsServerApi } from "../platform/server-client/https-server-api.ts";
import { readAuthority } from "../platform/tls/peer-identity.ts";
import { openIdentity } from "../platform/tls/identity.ts";
import { startEtcd } from "./begin-group.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { urlOf } from "./join-group.ts";
import { leaveTokens } from "./local-token.ts";
import type { ProcessEnd } from "./run-alone.ts";
import { type DiscoveryRun, findMembership, forgetMembership, leaveCluster, runNode } from "./run-node.ts";
import { type GroupWorld, runTerm } from "./run-term.ts";
import { forgetServer, type GroupFile, readTokenFile, serverPaths } from "./server-files.ts";
import { ETCD_PREFIX, readServers } from "./server-records.ts";
import { LEAVE_PATH } from "./servers-api.ts";
import { standbyHandler } from "./standby.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";
import { GroupWatch } from "./watch-group.ts";
import { whileWaiting } from "./while-waiting.ts";

export interface GroupRun {
  readonly config: DiscoveryConfig;
  readonly run: DiscoveryRun;
  readonly group: GroupFile;
  /** One that runs already; else it is started. */
  readonly etcd: EtcdProcess | null;
}

/** `removed`: the others have taken this server out while it was away. */
export type GroupEnd =
  | { readonly kind: "ended" }
  | { readonly kind: "removed"; readonly urls: readonly string[]; readonly token: string | null };

const CLOSE_GRACE_MS = 300;
const RETRY_MS = 500;
/** Who leaves waits so long for another one to lead. */
const LEAVE_MS_MAX = 15_000;

export async function runGroup({ config, run, group, etcd: running }: GroupRun, end: ProcessEnd): Promise<GroupEnd> {
  const paths = serverPaths(config.dataDir);
  const etcd = running ?? (await startEtcd(config, group, run.log));
  const inside = new AbortController();
  const signal = AbortSignal.any([end.signal, inside.signal, etcd.removed]);
  const [join, server] = [readTokenFile(paths.joinToken), readTokenFile(paths.serverToken)];
  const hideTokens = leaveTokens(config, { join, server }, run.log);
  const world = { config, run, gateway: etcd.gateway };
  const terms = runTerms(world, signal);
  const replica = new EtcdReplica({ gateway: etcd.gateway, clock: systemClock, prefix: ETCD_PREFIX });
  const watch = new GroupWatch({ replica, self: config.node, clock: systemClock, log: run.log });
  const looking = Promise.all([replica.run(signal), watch.run(signal)]);
  const standby = { replica, selfUrl: urlOf(config), missing: () => watch.missing() };
  try {
    const urls = [...new Set([urlOf(config), ...group.urls])];
    const joining = { urls, token: join, log: run.log };
    const waiting = { config, log: run.log, leave: end.leave };
    const membership = await whileWaiting(waiting, () => findMembership(config, joining, signal));
    const told =
      membership === null ? [] : await runNode(config, { run, membership, leave: end.leave, standby }, signal);
    // Another one has to lead before this one can go.
    inside.abort();
    await terms;
    if (end.signal.aborted) {
      const left = end.leaves() && (await leaveGroup(world, membership));
      await etcd.close();
      if (left) await forgetAll(config);
      return { kind: "ended" };
    }
    run.log.warn("This server was removed from the cluster while it was away; it joins anew", { node: config.node });
    await etcd.close();
    await forgetAll(config);
    return { kind: "removed", urls: [...new Set([...told, ...group.urls])], token: server };
  } finally {
    inside.abort();
    hideTokens();
    await Promise.all([terms, looking]);
    await etcd.close();
  }
}

async function forgetAll(config: DiscoveryConfig): Promise<void> {
  await forgetMembership(config);
  await forgetServer(config.dataDir);
}

/** Stands by until it can lead, leads until it must not, and so on. */
async function runTerms(world: GroupWorld, signal: AbortSignal): Promise<void> {
  const { config, run, gateway } = world;
  const self = { name: config.node, url: urlOf(config) };
  const options = { gateway, clock: systemClock, prefix: ETCD_PREFIX, self };
  while (!signal.aborted) {
    try {
      const office = await standBy(world, options, signal);
      if (office === null) return;
      try {
        await runTerm(world, office, signal);
      } finally {
        await office.resign();
      }
      if (!signal.aborted) run.log.warn("This server does not lead any more", { node: config.node });
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      run.log.warn(`This server could not lead: ${describeError(error)}`, { hint: error.hint });
      await systemClock.sleep(RETRY_MS, signal);
    }
  }
}

/** Answers what a server that does not lead can, until this one does; null after an abort. */
async function standBy(
  { config, run: { log } }: GroupWorld,
  options: OfficeOptions,
  signal: AbortSignal,
): Promise<Office | null> {
  const leader = async (): Promise<string | null> => (await readHolder(options))?.url ?? null;
  const identity = await openIdentity(serverPaths(config.dataDir).tls, [config.bind], systemClock.nowMs());
  const api = httpsServerApi({ caPem: identity.ca, serverName: SERVER_TLS_NAME });
  const listener = serveHttps({
    hostname: config.bind,
    port: config.clusterPort,
    identity,
    plainPort: null,
    handle: standbyHandler({ caPem: identity.ca, self: urlOf(config), leader, api }),
    clock: systemClock,
    onInternalError: (id, error, request) => log.error("request failed", { id, error, ...request }),
  });
  try {
    return await takeOffice(options, signal);
  } finally {
    await listener.close(CLOSE_GRACE_MS);
  }
}

/** Ends the membership of the server and of its node, if that is one already. False when it stays: as the only server there is, or since nobody leads. */
async function leaveGroup(
  { config, run: { log }, gateway }: GroupWorld,
  membership: Membership | null,
): Promise<boolean> {
  const servers = await readServers(gateway).catch(onlyAppError);
  const urls = (servers ?? []).filter(({ name }) => name !== config.node).map(({ url }) => url);
  const token = readTokenFile(serverPaths(config.dataDir).serverToken);
  if (urls.length === 0 || token === null) return false;
  const deadlineMs = systemClock.monotonicMs() + LEAVE_MS_MAX;
  const client = httpsJoinClient(SERVER_TLS_NAME);
  const bearer = parseJoinToken(token).secret;
  const { certificate: caPem } = readAuthority(serverPaths(config.dataDir).tls);
  for (let attempt = 0; systemClock.monotonicMs() < deadlineMs; attempt += 1) {
    const url = urls[attempt % urls.length] ?? "";
    try {
      // First: what it says is that nobody need wait for this one.
      await client.post({ url, path: LEAVE_PATH, bearer, caPem, body: { name: config.node } });
      if (membership !== null) await leaveCluster(membership, urls, log);
      return true;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code !== "unavailable") log.warn(error.message, { hint: error.hint });
      await systemClock.sleep(RETRY_MS);
    }
  }
  log.warn("Nobody leads who could be told that this server leaves", {
    hint: `apollo discovery force-leave ${config.node}`,
  });
  return false;
}

function onlyAppError(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
