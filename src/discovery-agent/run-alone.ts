/** The only server of a cluster, on SQLite, with its node, in one process: until a second server wants to join. */
import { existsSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { requireEtcd } from "../platform/etcd/etcd-process.ts";
import type { HttpHandler } from "../platform/ports/http.ts";
import { openServer } from "../server/main.ts";
import { makeServerConfig, type ServerConfig } from "../server/server-config.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { placeOf, urlOf } from "./join-group.ts";
import { leaveTokens } from "./local-token.ts";
import { type DiscoveryRun, findMembership, forgetMembership, leaveCluster, runNode } from "./run-node.ts";
import { scriptsOf } from "./script-rules.ts";
import { serverPaths } from "./server-files.ts";
import { openServerToken, type ServerToken } from "./server-token.ts";
import { serversHandler, SERVERS_PATH } from "./servers-api.ts";
import { notLeading } from "./standby.ts";

export interface ProcessEnd {
  /** Aborts when the process is to end, for whatever reason. */
  readonly signal: AbortSignal;
  /** Whether the membership is to end with it. */
  readonly leaves: () => boolean;
  /** `PUT agent/leave`. */
  readonly leave: () => Promise<void>;
}

/** Reserved for nobody (RFC 1112 §4): a process without containers leases a block as every member, and it must be no one's network. */
const UNUSED_RANGE = "240.0.0.0/12";
const UNUSED_BLOCK_PREFIX = "28";

/** `grow`: another server asks to join, and asks again once this one runs as one of several. */
export async function runAlone(config: DiscoveryConfig, run: DiscoveryRun, end: ProcessEnd): Promise<"ended" | "grow"> {
  const grow = new AbortController();
  const signal = AbortSignal.any([end.signal, grow.signal]);
  const serverEnd = new AbortController();
  let servers: HttpHandler = (request) => Promise.resolve(notLeading(request));
  const around =
    (handle: HttpHandler): HttpHandler =>
    (request) =>
      request.path.startsWith(`${SERVERS_PATH}/`) ? servers(request) : handle(request);
  const server = await openServer(serverConfigOf(config, run.version), serverEnd.signal, {
    leave: end.leave,
    around,
    scripts: scriptsOf(config),
  });
  let hideTokens: () => void = () => undefined;
  try {
    const { store } = server.cluster.state;
    const [random, digest, joinToken] = [systemRandom, nodeDigest, server.joinToken];
    const token = await openServerToken({ store, random, digest, dataDir: config.dataDir, joinToken });
    servers = growHandler(config, token, () => grow.abort());
    hideTokens = leaveTokens(config, { join: joinToken, server: token.text }, run.log);
    const joining = { urls: [urlOf(config)], token: joinToken, log: run.log };
    while (!signal.aborted) {
      const membership = await findMembership(config, joining, signal);
      if (membership === null) break;
      const urls = await runNode(config, { run, membership, leave: null }, signal);
      const left = end.signal.aborted && end.leaves();
      if (left) await leaveCluster(membership, urls, run.log);
      // Left, or removed by others while it was away: then it joins anew.
      if (left || !signal.aborted) await forgetMembership(config);
    }
  } finally {
    hideTokens();
    serverEnd.abort();
    await server.close();
  }
  return end.signal.aborted ? "ended" : "grow";
}

/** Whether this server has been alone before. */
export function wasAlone({ dataDir }: DiscoveryConfig): boolean {
  return existsSync(serverPaths(dataDir).store);
}

function growHandler(config: DiscoveryConfig, token: ServerToken, grow: () => void): HttpHandler {
  return serversHandler({
    token,
    join: async () => {
      await requireEtcd(placeOf(config));
      // The answer goes out before the server that gives it ends.
      void systemClock.sleep(0).then(grow);
      throw new AppError("unavailable", "Cannot take a second server yet: the first one moves its data to etcd", {
        hint: "Ask again in a second",
      });
    },
    leave: () => Promise.resolve(),
  });
}

/** The configuration of the server behind a node. */
export function serverConfigOf(config: DiscoveryConfig, version: string): ServerConfig {
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
        consulAcl: config.acl,
      },
    ],
    { version, ownAddress: config.bind },
  );
  const { node, reapAfterMs, clientMax, rates, serverPort } = config;
  const limit = { ...(clientMax === null ? {} : { clientMax }), ...(rates === null ? {} : { rates }) };
  return { ...made, consul: { ...made.consul, listenIsGiven: true, node, reapAfterMs, serverPort, ...limit } };
}
