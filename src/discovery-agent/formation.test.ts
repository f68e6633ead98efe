import { expect, test } from "bun:test";
import { FakeStore } from "../sim/fake-store.ts";
import { SeededRandom } from "../sim/seeded-random.ts";
import { Formation, isForming, markForming } from "./formation.ts";

const said: string[] = [];
const log = {
  debug: () => undefined,
  info: (text: string) => void said.push(text),
  warn: () => undefined,
  error: () => undefined,
};
const clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };

function config(bootstrapExpect: number, bootstrap = false): Parameters<typeof Formation.open>[1] {
  return { node: "s1", bootstrap, bootstrapExpect };
}

async function forming(servers: number): Promise<FakeStore> {
  const store = new FakeStore({ clock, random: new SeededRandom(1) });
  await markForming(store, servers);
  return store;
}

test("nobody but servers is answered before all are there; afterwards nobody waits, also not the next leader", async () => {
  const store = await forming(3);
  const formation = await Formation.open(store, config(3), log);
  for (const path of ["/v1/kv/a", "/api/join", "/api/agent", "/ui/"])
    expect(formation.refuse({ path })?.status).toBe(path.startsWith("/v1") ? 500 : 503);
  for (const path of ["/api/ca", "/servers/join"]) expect(formation.refuse({ path })).toBeNull();
  await formation.see(["s1", "s3"]);
  expect(said).toEqual([
    "Cannot begin yet: 1 of 3 expected servers is here (s1)",
    "Cannot begin yet: 2 of 3 expected servers are here (s1, s3)",
  ]);
  expect(JSON.stringify(formation.refuse({ path: "/api/join" }))).toContain(
    "2 of 3 expected servers are here (s1, s3)",
  );
  await formation.see(["s1", "s2", "s3"]);
  expect(formation.waits).toBe(false);
  expect(formation.refuse({ path: "/v1/kv/a" })).toBeNull();
  expect(await isForming(store)).toBe(false);
  const next = await Formation.open(store, { node: "s2", bootstrap: false, bootstrapExpect: 3 }, log);
  expect(next.waits).toBe(false);
  next.check({ name: "s4", expect: 5 });
});

test("a server that expects another number is refused while there are servers to wait for", async () => {
  const formation = await Formation.open(await forming(3), config(3), log);
  formation.check({ name: "s2", expect: 3 });
  formation.check({ name: "s2" });
  expect(() => formation.check({ name: "s2", expect: 5 })).toThrow('server "s2": it expects 5 servers, the others 3');
});

test("--bootstrap, or a smaller number, where it waits ends the wait", async () => {
  for (const restarted of [config(3, true), config(1)]) {
    const store = await forming(3);
    expect((await Formation.open(store, restarted, log)).waits).toBe(false);
    expect(await isForming(store)).toBe(false);
  }
  const store = await forming(3);
  expect((await Formation.open(store, config(0), log)).waits).toBe(true);
});
