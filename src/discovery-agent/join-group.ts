/** How a server becomes one of several: it asks one of those that are there. */
import { rm } from "node:fs/promises";
import { parseJoinToken } from "../cluster/tokens.ts";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { type EtcdPlace, requireEtcd } from "../platform/etcd/etcd-process.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import type { Log } from "../platform/ports/log.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { keepAuthority } from "../platform/tls/peer-identity.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { isLoopback, readToken, serverPlace } from "./local-token.ts";
import { serverPaths, writeGroupFile } from "./server-files.ts";
import { grantSchema, JOIN_PATH, type ServerGrant, type ServerWish } from "./servers-api.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

export interface GroupJoin {
  /** Servers to ask, each `https://HOST:PORT`. */
  readonly urls: readonly string[];
  /** The cluster's server token; null: what the servers on this machine left for programs of this user. */
  readonly token: string | null;
  /** Once each and no more. */
  readonly once: boolean;
  readonly log: Log;
}

const RETRY_MS = 250;

/**
 * Asks in turn until one takes this server, and keeps what it gives in the data directory. False when none did: after an abort,
 * or with `once`. @throws AppError for a refusal that waiting does not mend.
 */
export async function joinGroup(config: DiscoveryConfig, join: GroupJoin, signal: AbortSignal): Promise<boolean> {
  await requireEtcd(placeOf(config));
  const others = join.urls.filter((url) => url !== urlOf(config));
  let told = "";
  for (let attempt = 0; !signal.aborted && others.length > 0; attempt += 1) {
    if (join.once && attempt === others.length) return false;
    try {
      await keepGrant(config, await askFor(config, join, others[attempt % others.length] ?? ""));
      return true;
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "unavailable") throw error;
      if (error.message !== told && !join.once) join.log.warn(error.message, { hint: error.hint });
      told = error.message;
      if (!join.once) await systemClock.sleep(RETRY_MS, signal);
    }
  }
  return false;
}

/** `https://ADDRESS:PORT` of this server. */
export function urlOf({ bind, clusterPort }: Pick<DiscoveryConfig, "bind" | "clusterPort">): string {
  return `https://${bind}:${clusterPort}`;
}

export function peerUrlOf({ bind, serverPort }: Pick<DiscoveryConfig, "bind" | "serverPort">): string {
  return `https://${bind}:${serverPort}`;
}

/** Where etcd is to run. */
export function placeOf({ node: name, bind: address, serverPort: port }: DiscoveryConfig): EtcdPlace {
  return { name, address, port };
}

async function askFor(config: DiscoveryConfig, join: GroupJoin, url: string): Promise<ServerGrant> {
  const { hostname, port } = new URL(url);
  const local = isLoopback(hostname) ? readToken(serverPlace(`${hostname}:${port}`)) : null;
  const shown = join.token ?? local;
  if (shown === null) {
    throw new AppError(
      isLoopback(hostname) ? "unavailable" : "invalid",
      `Cannot join ${url} as a server: no server token is known for it`,
      { hint: "Pass --token-file with the file server-token of that server's data directory, or set APOLLO_TOKEN" },
    );
  }
  const token = parseJoinToken(shown);
  const client = httpsJoinClient(SERVER_TLS_NAME);
  const ca = await client.fetchCa(url);
  if (ca.fingerprint !== token.caFingerprint) {
    throw new AppError("denied", `Cannot join over ${url}: the server is not the one that the token is for`, {
      hint: "Check the address; if the cluster was made anew, take the new server-token",
    });
  }
  const { node: name, bind: address, bootstrapExpect: expect } = config;
  const body: ServerWish = { name, address, url: urlOf(config), peerUrl: peerUrlOf(config), expect };
  const answer = await client.post({ url, path: JOIN_PATH, bearer: token.secret, caPem: ca.pem, body });
  const grant = grantSchema.safeParse(answer);
  if (grant.success) return grant.data;
  throw new AppError("unavailable", `Cannot join over ${url}: the server's answer is not a grant`);
}

/** The mark last, so that a join that fails half-way begins anew. */
async function keepGrant({ dataDir }: DiscoveryConfig, grant: ServerGrant): Promise<void> {
  const paths = serverPaths(dataDir);
  // Of a former life as one of several, if there was one.
  await rm(paths.etcd, { recursive: true, force: true });
  keepAuthority(paths.tls, grant.ca);
  await diskFile(paths.joinToken).write(`${grant.joinToken}\n`);
  await diskFile(paths.serverToken).write(`${grant.serverToken}\n`);
  await writeGroupFile(dataDir, grant.group);
}
