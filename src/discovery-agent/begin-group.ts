/** How a server that was alone becomes the first of several: its data goes from SQLite to an etcd of its own. */
import { existsSync, renameSync } from "node:fs";
import { rm } from "node:fs/promises";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { EtcdProcess } from "../platform/etcd/etcd-process.ts";
import { EtcdStore } from "../platform/etcd/etcd-store.ts";
import { takeOffice } from "../platform/etcd/office.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Store, StoreWrite } from "../platform/ports/store.ts";
import { SqliteStore } from "../platform/sqlite/sqlite-store.ts";
import { makePeerIdentity } from "../platform/tls/peer-identity.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { peerUrlOf, urlOf } from "./join-group.ts";
import { type GroupFile, serverPaths, writeGroupFile } from "./server-files.ts";
import { ETCD_PREFIX, ServerRecords } from "./server-records.ts";

/** One commit of the copy; far below what etcd takes. */
const BATCH_ENTRIES = 1000;
const BATCH_BYTES = 4 * 1024 * 1024;
/** An etcd that has not begun by then will not: the server goes on alone. */
const BEGIN_MS_MAX = 30_000;

/** Starts this server's etcd. @throws AppError `conflict` when there is none on this machine. */
export async function startEtcd(config: DiscoveryConfig, group: GroupFile, log: Log): Promise<EtcdProcess> {
  const { tls, etcd } = serverPaths(config.dataDir);
  return EtcdProcess.start({
    name: config.node,
    directory: etcd,
    peerUrl: peerUrlOf(config),
    cluster: group,
    tls: await makePeerIdentity(tls, [config.bind], systemClock.nowMs()),
    clock: systemClock,
    log,
  });
}

/**
 * Copies everything, then marks the server as one of several. Until the mark is there the old store is the one that counts, and
 * a copy that was begun is thrown away. Null after an abort, or when etcd does not begin.
 */
export async function beginGroup(config: DiscoveryConfig, log: Log, signal: AbortSignal): Promise<EtcdProcess | null> {
  const paths = serverPaths(config.dataDir);
  await rm(paths.etcd, { recursive: true, force: true });
  const self = { name: config.node, peerUrl: peerUrlOf(config) };
  const group = { state: "new", members: [self], urls: [urlOf(config)] } as const;
  const etcd = await startEtcd(config, group, log);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(BEGIN_MS_MAX)]);
  try {
    if ((await etcd.ready(limit)) && (await copy(config, etcd, signal))) {
      await writeGroupFile(config.dataDir, group);
      if (existsSync(paths.store)) renameSync(paths.store, paths.formerStore);
      return etcd;
    }
  } catch (error) {
    await etcd.close();
    throw error;
  }
  await etcd.close();
  return null;
}

async function copy(config: DiscoveryConfig, { gateway }: EtcdProcess, signal: AbortSignal): Promise<boolean> {
  const [clock, random, prefix] = [systemClock, systemRandom, ETCD_PREFIX];
  const { node: name, bind: address, serverPort } = config;
  const url = urlOf(config);
  const office = await takeOffice({ gateway, clock, prefix, self: { name, url } }, signal);
  if (office === null) return false;
  const source = SqliteStore.open(serverPaths(config.dataDir).store);
  try {
    const target = await EtcdStore.open({ gateway, office, clock, random, prefix });
    await copyAll(source, target);
    const memberId = (await gateway.members())[0]?.id ?? "";
    const records = await ServerRecords.load(target, gateway);
    await records.put({ name, address, url, peer: `${address}:${serverPort}`, memberId });
    await target.close();
    return true;
  } finally {
    await source.close();
    await office.resign();
  }
}

async function copyAll(source: Store, target: Store): Promise<void> {
  let writes: StoreWrite[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (writes.length > 0 && (await target.commit(writes)) === null)
      throw new AppError("conflict", "Cannot copy the store: the new one did not take it");
    writes = [];
    bytes = 0;
  };
  for (const { key, value } of await source.list("")) {
    writes.push({ kind: "put", key, value });
    bytes += JSON.stringify(value).length;
    if (writes.length === BATCH_ENTRIES || bytes > BATCH_BYTES) await flush();
  }
  await flush();
}
