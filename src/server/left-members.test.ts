import { expect, test } from "bun:test";
import type { Host } from "../model/host.ts";
import { hostNamed } from "../sim/consul-fixture.ts";
import { FakeStore } from "../sim/fake-store.ts";
import { SeededRandom } from "../sim/seeded-random.ts";
import { LeftMembers } from "./left-members.ts";

const HOUR_MS = 3_600_000;

function world(): { store: FakeStore; at: { ms: number }; load: () => Promise<LeftMembers> } {
  const at = { ms: 1_000_000 };
  const clock = { nowMs: () => at.ms, monotonicMs: () => at.ms, sleep: () => Promise.resolve() };
  const store = new FakeStore({ clock, random: new SeededRandom(1) });
  return { store, at, load: () => LeftMembers.load(store, clock) };
}

async function leave(left: LeftMembers, store: FakeStore, name: string): Promise<void> {
  const { id, address } = hostNamed(name);
  await store.commit(left.farewell({ id, name, address } as Host));
}

function names(left: LeftMembers): string {
  return left
    .list()
    .map(({ name, server }) => `${name}${server ? " server" : ""}`)
    .join();
}

test("who has left is shown for 72 hours, by whoever leads, until it is back", async () => {
  const { store, at, load } = world();
  const first = await load();
  first.see([hostNamed("s1", { server: true }), hostNamed("c1"), hostNamed("c2")]);
  first.see([hostNamed("s1"), hostNamed("c1"), hostNamed("c2")]);
  await leave(first, store, "s1");
  await leave(first, store, "c1");
  first.see([hostNamed("c2")]);
  expect(names(first)).toBe("c1,s1 server");
  const second = await load();
  expect(names(second)).toBe("c1,s1 server");
  second.see([hostNamed("c1"), hostNamed("c2")]);
  expect(names(second)).toBe("s1 server");
  at.ms += 71 * HOUR_MS;
  expect(second.has("s1")).toBe(true);
  at.ms += HOUR_MS;
  expect(names(second)).toBe("");
  // What is overdue goes with the next that leaves.
  await leave(second, store, "c2");
  expect((await store.list("left/")).map(({ key }) => key)).toEqual(["left/c2"]);
});

test("who is pruned is not shown any more, also by the next leader", async () => {
  const { store, load } = world();
  const first = await load();
  await leave(first, store, "c1");
  await first.forget("c1");
  await first.forget("nobody");
  expect(names(first)).toBe("");
  expect(names(await load())).toBe("");
});
