import { expect, test } from "bun:test";
import { Liveness } from "../cluster/liveness.ts";
import type { Host } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { FakeStore } from "../sim/fake-store.ts";
import { SeededRandom } from "../sim/seeded-random.ts";
import { HeardBefore } from "./heard-before.ts";

const clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };

test("a new leader takes for down who was, waits shortly for who led, and as usual for all others and for itself", async () => {
  const store = new FakeStore({ clock, random: new SeededRandom(1) });
  const liveness = new Liveness();
  const hosts = new Map(["s1", "c1", "c2"].map((name) => [name as HostId, { id: name as HostId, name } as Host]));
  for (const id of hosts.keys()) liveness.add(id, 0, id === "c1" ? 0 : undefined);
  let changed: () => void = () => undefined;
  const cluster = {
    state: { hosts },
    liveness,
    onChange: (listener: () => void) => ((changed = listener), () => undefined),
  };
  const first = await HeardBefore.load(store, "s1");
  for (const name of ["s1", "c1", "c2"]) expect(first.graceTicks({ name })).toBeUndefined();
  first.follow(cluster as unknown as Parameters<typeof first.follow>[0]);
  changed();
  while ((await store.get("heard")) === null) await Promise.resolve();
  const second = await HeardBefore.load(store, "s2");
  expect(["s1", "c1", "c2", "s2"].map((name) => second.graceTicks({ name }))).toEqual([6, 0, undefined, undefined]);
  // It leads again itself: it is there.
  expect((await HeardBefore.load(store, "s1")).graceTicks({ name: "s1" })).toBeUndefined();
});

test("who led is known also when nobody was down", async () => {
  const store = new FakeStore({ clock, random: new SeededRandom(1) });
  const cluster = { state: { hosts: new Map() }, liveness: new Liveness(), onChange: () => () => undefined };
  (await HeardBefore.load(store, "s1")).follow(cluster as unknown as Parameters<HeardBefore["follow"]>[0]);
  while ((await store.get("heard")) === null) await Promise.resolve();
  expect((await HeardBefore.load(store, "s2")).graceTicks({ name: "s1" })).toBe(6);
});
