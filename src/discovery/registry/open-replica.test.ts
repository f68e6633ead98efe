import { expect, test } from "bun:test";
import { nodeDigest } from "../../platform/digest/node-digest.ts";
import type { Replica, ReplicaChange } from "../../platform/ports/replica.ts";
import type { Store } from "../../platform/ports/store.ts";
import { openConsul } from "../../sim/consul-fixture.ts";
import { FakeStore } from "../../sim/fake-store.ts";
import { SeededRandom } from "../../sim/seeded-random.ts";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { openReplica, type RegistryReplica } from "./open-replica.ts";
import { renderSnapshot, restoreSnapshot } from "./snapshot.ts";

/** Reads the leader's store, and hears of its commits. */
async function replicaOf(store: Store): Promise<Replica> {
  const known = new Map((await store.list("")).map(({ key, value }) => [key, value]));
  return {
    leader: () => null,
    contactMs: () => 0,
    open: () =>
      Promise.resolve({
        get: (key: string) => store.get(key),
        list: (prefix: string) => store.list(prefix),
        follow: (prefix: string, onCommit: (changes: readonly ReplicaChange[]) => void, signal: AbortSignal) =>
          new Promise<void>((resolve) => {
            signal.addEventListener("abort", () => resolve());
            store.watch(({ writes }) => {
              const changes = writes
                .filter(({ key }) => key.startsWith(prefix))
                .map((write): ReplicaChange => {
                  const before = known.get(write.key) ?? null;
                  const value = write.kind === "put" ? write.value : null;
                  known.set(write.key, value);
                  return { key: write.key, value, before };
                });
              if (!signal.aborted && changes.length > 0) onCommit(changes);
            });
          }),
      }),
  };
}

const NO_WAIT = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };

async function begin(): Promise<{
  leader: Awaited<ReturnType<typeof openConsul>>;
  open: () => Promise<RegistryReplica>;
}> {
  const [clock, random] = [new VirtualClock(), new SeededRandom(7)];
  const store = new FakeStore({ clock: NO_WAIT, random });
  const leader = await openConsul({}, { clock, random, store });
  const open = async (): Promise<RegistryReplica> =>
    openReplica(await replicaOf(store), { clock, random, digest: nodeDigest });
  return { leader, open };
}

test("a replica has the leader's rows with their indexes, and wakes who waits at it, deletions included", async () => {
  const { leader, open } = await begin();
  await leader.put("kv/a", "1");
  await leader.put("kv/b", "1");
  const { registry } = (await open()).parts;
  const keys = (): string =>
    registry.tables
      .list("kv", "")
      .map(({ key, modifyIndex }) => `${key}@${modifyIndex}`)
      .join();
  const ofLeader = (): string =>
    leader.parts.registry.tables
      .list("kv", "")
      .map(({ key, modifyIndex }) => `${key}@${modifyIndex}`)
      .join();
  expect(keys()).toBe(ofLeader());
  for (const change of [
    () => leader.put("kv/a", "2"),
    () => leader.ask("DELETE", "kv/a"),
    () => leader.put("kv/a", "3"),
  ]) {
    const query = registry.keyQuery("a");
    const minIndex = query.index();
    const waiting = registry.block(query, {
      minIndex: BigInt(minIndex),
      waitMs: 60_000,
      signal: new AbortController().signal,
    });
    await change();
    expect(await waiting).toBeGreaterThan(minIndex);
    expect(keys()).toBe(ofLeader());
    expect(registry.index).toBeLessThanOrEqual(leader.parts.registry.index);
  }
});

test("a replica writes nothing, and ends when a restored snapshot takes the place of all it has", async () => {
  const { leader, open } = await begin();
  await leader.put("kv/a", "1");
  const snapshot = renderSnapshot(leader.parts.registry);
  await leader.put("kv/a", "2");
  const replica = await open();
  const refused = await replica.parts.registry.write((tx) => tx.delete("kv", "a")).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "unavailable" });
  const waiting = replica.parts.registry.block(replica.parts.registry.keyQuery("a"), {
    minIndex: BigInt(replica.parts.registry.index),
    waitMs: 60_000,
    signal: new AbortController().signal,
  });
  await restoreSnapshot(leader.parts.registry, snapshot);
  expect(replica.ended.aborted).toBe(true);
  const shown = await waiting;
  const { registry } = (await open()).parts;
  expect(registry.tables.get("kv", "a")?.value).toBe(btoa("1"));
  expect(registry.keyQuery("a").index()).toBeGreaterThan(shown);
});
