/** The first of several servers that are expected: what a lone server would have in its store, before anybody is answered. */
import { mkdirSync } from "node:fs";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { requireEtcd } from "../platform/etcd/etcd-process.ts";
import { SqliteStore } from "../platform/sqlite/sqlite-store.ts";
import { openIdentity } from "../platform/tls/identity.ts";
import { openSecrets } from "../server/secrets.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { isForming, markForming } from "./formation.ts";
import { placeOf, urlOf } from "./join-group.ts";
import { wasAlone } from "./run-alone.ts";
import { serverPaths } from "./server-files.ts";
import { openServerToken } from "./server-token.ts";

/**
 * Makes CA, tokens and a store that waits for `bootstrapExpect` servers; repeatable. @throws AppError `conflict` when there is no
 * etcd on this machine.
 */
export async function beginForming(config: DiscoveryConfig): Promise<void> {
  await requireEtcd(placeOf(config));
  const { dataDir, bootstrapExpect } = config;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const identity = await openIdentity(serverPaths(dataDir).tls, [config.bind], systemClock.nowMs());
  const store = SqliteStore.open(serverPaths(dataDir).store);
  try {
    // First: whatever ends this process from here on, nobody takes the store for that of a lone server.
    await markForming(store, bootstrapExpect);
    const [random, digest] = [systemRandom, nodeDigest];
    const { ca, caFingerprint } = identity;
    const access = { store, random, digest, dataDir, url: urlOf(config), ca, caFingerprint, resetAdminToken: false };
    const { joinToken } = await openSecrets(access);
    await openServerToken({ store, random, digest, dataDir, joinToken });
  } finally {
    await store.close();
  }
}

/** Whether the store of this server is one that has begun to wait and is not yet in an etcd. */
export async function hasBegunForming(config: DiscoveryConfig): Promise<boolean> {
  if (!wasAlone(config)) return false;
  const store = SqliteStore.open(serverPaths(config.dataDir).store);
  try {
    return await isForming(store);
  } finally {
    await store.close();
  }
}
