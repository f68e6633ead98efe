import { expect, test } from "bun:test";
import fc from "fast-check";
import type { FeedMessage, FeedState, HostJson, InstanceJson } from "../api/native/shapes.ts";
import { FakeCluster } from "../../test/console/fake-cluster.ts";
import { FeedStore } from "./feed-store.ts";

const CLUSTER = new FakeCluster({ hosts: 2, apps: [{ id: "/web", instances: 2 }] });

test("apply() shows a snapshot, sorted and indexed", () => {
  const store = new FeedStore();
  expect(store.view().sequence).toBeNull();
  expect(store.apply(CLUSTER.snapshot())).toBe(true);
  const view = store.view();
  expect(view.hosts.map((host) => host.name)).toEqual(["h1", "h2"]);
  expect(view.instancesByApp.get("/web")?.length).toBe(2);
  expect(view.instancesByHost.get("h2")?.length).toBe(1);
  expect(view.services.map((service) => service.name)).toEqual(["web"]);
});

test("apply() puts and drops by the key of each kind", () => {
  const store = new FeedStore();
  store.apply(CLUSTER.snapshot());
  const { sequence, hosts, services } = store.view();
  const [first] = hosts;
  const [service] = services;
  if (sequence === null || first === undefined || service === undefined) throw new Error("The snapshot is empty");
  const put = { hosts: [{ ...first, cordoned: true }], services: [{ ...service, tags: ["v9"] }] };
  expect(store.apply({ type: "delta", sequence: sequence + 1, put, drop: { hosts: ["h2"] } })).toBe(true);
  expect(store.view().hosts.map((host) => [host.name, host.cordoned])).toEqual([["h1", true]]);
  expect(store.view().services.map((item) => item.tags)).toEqual([["v9"]]);
});

test("apply() refuses a sequence gap and a delta before any snapshot, unchanged", () => {
  const store = new FeedStore();
  expect(store.apply({ type: "delta", sequence: 1, put: {}, drop: {} })).toBe(false);
  store.apply(CLUSTER.snapshot());
  const before = store.view();
  const sequence = (before.sequence ?? 0) + 2;
  expect(store.apply({ type: "delta", sequence, put: {}, drop: { apps: ["/web"] } })).toBe(false);
  expect(store.view()).toBe(before);
});

test("a snapshot replaces everything, also with the number of the one before", () => {
  const store = new FeedStore();
  store.apply({ type: "snapshot", sequence: 1, state: { ...EMPTY, hosts: [makeHost("h1", 0), makeHost("h2", 0)] } });
  expect(store.view().hosts.length).toBe(2);
  store.apply({ type: "snapshot", sequence: 1, state: { ...EMPTY, hosts: [makeHost("h3", 0)] } });
  expect(store.view().hosts.map((host) => host.name)).toEqual(["h3"]);
});

test("view() keeps the lists of kinds that did not change", () => {
  const store = new FeedStore();
  store.apply(CLUSTER.snapshot());
  const before = store.view();
  const sequence = (before.sequence ?? 0) + 1;
  store.apply({ type: "delta", sequence, put: { hosts: [makeHost("h1", 9)] }, drop: {} });
  const after = store.view();
  expect(after.instances).toBe(before.instances);
  expect(after.instancesByApp).toBe(before.instancesByApp);
  expect(after.hosts[0]?.instances).toBe(9);
  expect(store.view()).toBe(after);
});

test("subscribe() hears once about a burst", () => {
  const waiting: (() => void)[] = [];
  const store = new FeedStore((run) => waiting.push(run));
  let heard = 0;
  store.subscribe(() => (heard += 1));
  store.apply(CLUSTER.snapshot());
  const sequence = store.view().sequence ?? 0;
  store.apply({ type: "delta", sequence: sequence + 1, put: {}, drop: {} });
  expect(waiting.length).toBe(1);
  waiting[0]?.();
  expect(heard).toBe(1);
});

test("any stream of changes leaves what the server has", () => {
  const key = fc.constantFrom("a", "b", "c", "d");
  const change = fc.record({
    put: fc.array(fc.tuple(key, fc.nat(9)), { maxLength: 3 }),
    drop: fc.array(key, { maxLength: 2 }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const store = new FeedStore();
      const truth = new Map<string, number>();
      store.apply({ type: "snapshot", sequence: 7, state: EMPTY });
      for (const [index, { put, drop }] of changes.entries()) {
        for (const name of drop) truth.delete(name);
        for (const [name, count] of put) truth.set(name, count);
        const message: FeedMessage = {
          type: "delta",
          sequence: 8 + index,
          put: { hosts: put.map(([name, instances]) => makeHost(name, instances)) },
          drop: { hosts: drop },
        };
        expect(store.apply(message)).toBe(true);
      }
      const shown = store.view().hosts.map((host) => [host.name, host.instances] as const);
      expect(shown).toEqual([...truth].toSorted(([a], [b]) => (a < b ? -1 : 1)));
    }),
  );
});

test("view() orders names as people count", () => {
  const store = new FeedStore();
  const hosts = ["h10", "h2", "h1"].map((name) => makeHost(name, 0));
  store.apply({ type: "snapshot", sequence: 1, state: { ...EMPTY, hosts, instances: [] as InstanceJson[] } });
  expect(store.view().hosts.map((host) => host.name)).toEqual(["h1", "h2", "h10"]);
});

const EMPTY: FeedState = { hosts: [], apps: [], instances: [], services: [], deployments: [] };

function makeHost(name: string, instances: number): HostJson {
  const [host] = CLUSTER.hosts.values();
  if (host === undefined) throw new Error("The fake cluster has no host");
  return { ...host, name, instances };
}
