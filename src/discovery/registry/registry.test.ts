import { expect, test } from "bun:test";
import type { Endpoint } from "../../model/endpoint.ts";
import type { ServiceName } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { nodeDigest } from "../../platform/digest/node-digest.ts";
import { type ConsulFixture, hostNamed, openConsul } from "../../sim/consul-fixture.ts";
import { FakeStore } from "../../sim/fake-store.ts";
import { SeededRandom } from "../../sim/seeded-random.ts";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { putKey } from "./kv-operations.ts";
import type { Store } from "../../platform/ports/store.ts";
import { AppError } from "../../model/error.ts";
import { openRegistry, type RegistryParts } from "./registry-parts.ts";
import { renderSnapshot, restoreSnapshot } from "./snapshot.ts";

async function statusOf(consul: ConsulFixture, check: string): Promise<string> {
  const checks = (await consul.get("agent/checks")) as Record<string, { Status: string; Output: string }>;
  return `${checks[check]?.Status} ${checks[check]?.Output}`;
}

test("a TTL check turns critical when nobody reports in time, and keeps what it said", async () => {
  const consul = await openConsul();
  await consul.put("agent/service/register", { Name: "web", Check: { TTL: "10s" } });
  await consul.put("agent/check/pass/service:web?note=fine");
  await consul.clock.advance(9000);
  await consul.put("agent/check/pass/service:web?note=fine");
  await consul.clock.advance(9000);
  expect(await statusOf(consul, "service:web")).toBe("passing fine");
  await consul.clock.advance(2000);
  expect(await statusOf(consul, "service:web")).toBe("critical fine");
});

test("TTL checks go on after a restart, and a registration again keeps their status", async () => {
  const first = await openConsul();
  const body = { Name: "web", Check: { TTL: "10s", Status: "warning" } };
  await first.put("agent/service/register", body);
  await first.put("agent/check/pass/service:web?note=fine");
  const second = await first.reopen();
  await second.put("agent/service/register", body);
  expect(await statusOf(second, "service:web")).toBe("passing fine");
  await second.clock.advance(11_000);
  expect(await statusOf(second, "service:web")).toBe("critical fine");
});

test("reporting the same again wakes nobody", async () => {
  const consul = await openConsul();
  await consul.put("agent/service/register", { Name: "web", Check: { TTL: "10s" } });
  await consul.put("agent/check/pass/service:web");
  const { index } = consul.parts.registry;
  await consul.put("agent/check/pass/service:web");
  await consul.put("agent/service/register", { Name: "web", Check: { TTL: "10s" } });
  expect(consul.parts.registry.index).toBe(index);
});

test("a service that stays critical is taken away when its check says so, one that recovers is not", async () => {
  const consul = await openConsul();
  const check = { TTL: "10s", DeregisterCriticalServiceAfter: "1m" };
  for (const Name of ["web", "db"]) await consul.put("agent/service/register", { Name, Check: check });
  await consul.clock.advance(50_000);
  await consul.put("agent/check/pass/service:db");
  await consul.clock.advance(15_000);
  expect(Object.keys((await consul.get("agent/services")) as object)).toEqual(["db"]);
});

const ENDPOINT: Endpoint = {
  id: "h2:shop:80",
  service: "shop" as ServiceName,
  address: parseIpv4("10.2.2.2"),
  port: 80,
  protocol: "tcp",
  tags: [],
  meta: {},
  host: "h2",
  container: "shop",
  instanceId: null,
  appId: null,
  health: "passing",
};

test("containers and hosts follow the cluster; what clients registered on a host survives a restart, not the host", async () => {
  const first = await openConsul({ localNode: () => "h2" });
  const both = [hostNamed("n1", { server: true }), hostNamed("h2")];
  first.parts.platform.setHosts(both);
  first.parts.platform.resetEndpoints([ENDPOINT]);
  await first.put("agent/service/register", { Name: "side", Port: 1 });
  expect(await first.get("catalog/services")).toEqual({ consul: [], shop: [], side: [] });
  const second = await first.reopen();
  expect(await second.get("catalog/services")).toEqual({ consul: [] });
  second.parts.platform.setHosts(both);
  expect(await second.get("catalog/services")).toEqual({ consul: [], side: [] });
  second.parts.platform.setHosts(both.slice(0, 1));
  await second.clock.advance(10);
  expect(second.parts.registry.tables.size("service")).toBe(0);
});

test("a snapshot brings back what was there and takes away what was not; a damaged one changes nothing", async () => {
  const consul = await openConsul();
  await consul.put("kv/a?flags=3304740253564472344", "1");
  await consul.put("catalog/register", { Node: "ext", Address: "192.0.2.9", Service: { Service: "db" } });
  const { text } = await consul.ask("GET", "snapshot");
  await consul.put("kv/a", "2");
  await consul.put("kv/b", "new");
  await consul.put("catalog/deregister", { Node: "ext" });
  const broken = await consul.ask("PUT", "snapshot", { body: text.slice(0, -3) });
  expect([broken.status, broken.text]).toEqual([400, "Cannot restore the snapshot: it is damaged or cut off"]);
  expect((await consul.ask("PUT", "snapshot", { body: "\x1f\x8b other" })).status).toBe(400);
  expect(await consul.get("kv/?keys")).toEqual(["a", "b"]);
  await consul.put("snapshot", text);
  expect(await consul.get("kv/?recurse")).toMatchObject([{ Key: "a", Value: btoa("1") }]);
  expect((await consul.ask("GET", "kv/a")).text).toContain('"Flags":3304740253564472344');
  expect(await consul.get("catalog/services")).toMatchObject({ db: [] });
});

/** A store whose process dies at one of its commits. */
function dyingAfter(commits: number, disk: FakeStore): Store {
  let done = 0;
  return {
    get: (key) => disk.get(key),
    list: (prefix) => disk.list(prefix),
    watch: (onChange) => disk.watch(onChange),
    close: () => disk.close(),
    commit: (...args) => {
      done += 1;
      return done > commits ? Promise.reject(new AppError("unavailable", "it died")) : disk.commit(...args);
    },
  };
}

function openOn(store: Store): Promise<RegistryParts> {
  return openRegistry({ store, clock: new VirtualClock(), random: new SeededRandom(5), digest: nodeDigest });
}

/** A disk with so many keys of that value, and the snapshot of it. */
async function diskWith(value: string, count: number): Promise<{ disk: FakeStore; snapshot: string }> {
  const noWait = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };
  const disk = new FakeStore({ clock: noWait, random: new SeededRandom(6) });
  const parts = await openOn(disk);
  const { registry, lockDelays } = parts;
  await registry.write((tx) => {
    for (let n = 0; n < count; n += 1)
      putKey(tx, `${value.slice(0, 3)}/${n}`, {
        input: { value, flags: "0" },
        condition: { kind: "always" },
        lockDelays,
      });
  });
  parts.close();
  return { disk, snapshot: renderSnapshot(registry) };
}

test("a restore that is broken off at any commit is all there after the next start, or nothing of it is", async () => {
  const { snapshot } = await diskWith("new", 1100);
  const outcomes: string[] = [];
  for (let restored = false; !restored;) {
    const { disk } = await diskWith("old", 700);
    // The first commit is that of the start.
    const before = await openOn(dyingAfter(1 + outcomes.length, disk));
    restored = await restoreSnapshot(before.registry, snapshot).then(
      () => true,
      () => false,
    );
    before.close();
    const reopened = disk.reopen();
    const after = await openOn(reopened);
    const values = new Set(after.registry.tables.list("kv", "").map(({ value }) => value));
    outcomes.push(`${[...values].join(" and ")}: ${after.registry.tables.size("kv")}`);
    // What is left of the other one goes with the start.
    expect((await reopened.list("registry/")).length).toBe(after.registry.tables.size("kv") + 1);
    after.close();
  }
  expect(new Set(outcomes)).toEqual(new Set(["old: 700", "new: 1100"]));
  expect(outcomes.length).toBeGreaterThan(4);
});

test("a restore makes no commit that a store could find too large", async () => {
  const { disk, snapshot } = await diskWith("x".repeat(600_000), 30);
  const sizes: number[] = [];
  const counted: Store = {
    ...dyingAfter(Infinity, disk),
    commit: (writes, conditions) => {
      sizes.push(JSON.stringify(writes).length);
      return disk.commit(writes, conditions);
    },
  };
  const parts = await openOn(counted);
  await restoreSnapshot(parts.registry, snapshot);
  expect(parts.registry.tables.size("kv")).toBe(30);
  expect(sizes.length).toBeGreaterThan(4);
  expect(Math.max(...sizes)).toBeLessThan(9 * 1024 * 1024);
  parts.close();
});

test("a tree larger than a commit is deleted whole; a transaction that would be too large changes nothing", async () => {
  const consul = await openConsul();
  const { registry, lockDelays } = consul.parts;
  const input = { value: null, flags: "0" };
  const condition = { kind: "always" } as const;
  for (const half of ["x", "y"]) {
    await registry.write((tx) => {
      for (let n = 0; n < 6000; n += 1) putKey(tx, `t/${half}${n}`, { input, condition, lockDelays });
    });
  }
  const refused = await consul.ask("PUT", "txn", { body: [{ KV: { Verb: "delete-tree", Key: "t/" } }] });
  expect([refused.status, registry.tables.size("kv")]).toEqual([400, 12_000]);
  expect((await consul.ask("DELETE", "kv/t/?recurse")).text).toBe("true");
  expect(registry.tables.size("kv")).toBe(0);
});

test("nothing is readable before it is stored, and what the store refuses never was", async () => {
  const clock = new VirtualClock();
  const random = new SeededRandom(3);
  const store = new FakeStore({ clock, random, latencyMs: 50 });
  const parts = await clock.settle(openRegistry({ store, clock, random, digest: nodeDigest }));
  const { registry, lockDelays } = parts;
  const put = (value: string): Promise<unknown> =>
    registry.write((tx) =>
      putKey(tx, "k", { input: { value, flags: "0" }, condition: { kind: "always" }, lockDelays }),
    );
  const writing = put("MQ==");
  expect(registry.tables.get("kv", "k")).toBeNull();
  await clock.settle(writing);
  expect(registry.tables.get("kv", "k")?.value).toBe("MQ==");
  store.reopen();
  let failure: unknown = null;
  const failing = put("Mg==").catch((error: unknown) => {
    failure = error;
  });
  await clock.settle(failing);
  expect(failure).toMatchObject({ code: "unavailable" });
  expect(registry.tables.get("kv", "k")?.value).toBe("MQ==");
  parts.close();
});

test("each start is a term of its own", async () => {
  const first = await openConsul();
  const second = await first.reopen();
  const health = (await second.get("operator/autopilot/health")) as { Servers: { LastTerm: number }[] };
  expect([first.parts.registry.term, health.Servers.map(({ LastTerm }) => LastTerm)]).toEqual([1, [2]]);
});

test("a change that throws takes back only itself", async () => {
  const { parts } = await openConsul();
  const { registry, lockDelays } = parts;
  const put = (key: string, fail: boolean): Promise<unknown> =>
    registry.write((tx) => {
      putKey(tx, key, { input: { value: null, flags: "0" }, condition: { kind: "always" }, lockDelays });
      putKey(tx, "shared", { input: { value: btoa(key), flags: "0" }, condition: { kind: "always" }, lockDelays });
      if (fail) throw new Error("refused");
    });
  const outcomes = await Promise.allSettled([put("a", false), put("b", true), put("c", false)]);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect([...registry.tables.ids("kv", "")]).toEqual(["a", "c", "shared"]);
  expect(registry.tables.get("kv", "shared")?.value).toBe(btoa("c"));
});

test("events wait for the next of their name", async () => {
  const consul = await openConsul();
  await consul.put("event/fire/deploy", "1");
  const { headers } = await consul.ask("GET", "event/list?name=deploy");
  const next = consul.ask("GET", `event/list?name=deploy&index=${headers["x-consul-index"]}&wait=1m`);
  let done = false;
  void next.then(() => {
    done = true;
  });
  await consul.put("event/fire/other");
  await consul.clock.advance(0);
  expect(done).toBe(false);
  await consul.put("event/fire/deploy", "2");
  expect(((await next).headers["x-consul-index"] ?? "") === headers["x-consul-index"]).toBe(false);
  for (let n = 0; n < 300; n += 1)
    consul.parts.events.fire({ name: "many", payload: null, nodeFilter: "", serviceFilter: "", tagFilter: "" });
  expect(((await consul.get("event/list")) as unknown[]).length).toBe(256);
});

test("agent/service waits by hash until the service changes", async () => {
  const consul = await openConsul();
  await consul.put("agent/service/register", { Name: "web", Port: 80 });
  const { headers } = await consul.ask("GET", "agent/service/web");
  const next = consul.ask("GET", `agent/service/web?hash=${headers["x-consul-contenthash"]}&wait=1m`);
  await consul.put("agent/service/register", { Name: "other", Port: 1 });
  await consul.put("agent/service/register", { Name: "web", Port: 81 });
  expect(JSON.parse((await next).text)).toMatchObject({ Port: 81 });
});
