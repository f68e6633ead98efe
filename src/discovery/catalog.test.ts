import { expect, test } from "bun:test";
import fc from "fast-check";
import type { CatalogHost, Endpoint } from "../model/endpoint.ts";
import type { InstanceId, ServiceName } from "../model/ids.ts";
import { type Ipv4, parseIpv4 } from "../model/ip.ts";
import { Catalog, type CatalogDelta } from "./catalog.ts";

function endpoint(host: string, name: string, over: Partial<Endpoint> = {}): Endpoint {
  return {
    id: `${host}:${name}:80`,
    service: "web" as ServiceName,
    address: parseIpv4("10.2.1.7"),
    port: 80,
    protocol: "tcp",
    tags: [],
    meta: {},
    host,
    container: name,
    instanceId: `${name}-instance` as InstanceId,
    appId: null,
    health: "passing",
    ...over,
  };
}

const host = (name: string, up = true): CatalogHost => ({ name, address: `192.168.0.${name.slice(1)}` as Ipv4, up });
const ids = (endpoints: readonly Endpoint[]): readonly string[] => endpoints.map((each) => each.id);
const put = (...upsert: readonly Endpoint[]): { reset: boolean; upsert: readonly Endpoint[]; remove: string[] } => ({
  reset: false,
  upsert,
  remove: [],
});

function twoHosts(): Catalog {
  const catalog = new Catalog();
  catalog.putHost(host("h1"));
  catalog.putHost(host("h2"));
  catalog.applyEndpoints("h1", put(endpoint("h1", "a"), endpoint("h1", "b")));
  catalog.applyEndpoints("h2", put(endpoint("h2", "c", { tags: ["v2", "v1"] })));
  return catalog;
}

test("Catalog lists endpoints and services of hosts that are up", () => {
  const catalog = twoHosts();
  expect(ids(catalog.list())).toEqual(["h1:a:80", "h1:b:80", "h2:c:80"]);
  expect(catalog.services().map(({ name, tags, endpoints }) => [name, tags, endpoints.length])).toEqual([
    ["web", ["v1", "v2"], 3],
  ]);
  expect(catalog.service("nobody")).toBeNull();
});

test("Catalog takes a host's endpoints out while it is down and back in when it is up", () => {
  const catalog = twoHosts();
  const before = catalog.revision;
  catalog.putHost(host("h1", false));
  expect(ids(catalog.list())).toEqual(["h2:c:80"]);
  expect(catalog.changesSince(before)).toEqual({
    revision: before + 1,
    upsert: [],
    remove: ["h1:a:80", "h1:b:80"],
    hosts: [host("h1", false), host("h2")],
    hostChanges: { upsert: [host("h1", false)], remove: [] },
  });
  expect(catalog.withheld().map(({ endpoint: { id }, reason }) => [id, reason])).toEqual([
    ["h1:a:80", "host-down"],
    ["h1:b:80", "host-down"],
  ]);
  catalog.putHost(host("h1"));
  expect(catalog.list().length).toBe(3);
});

test("Catalog takes draining instances out at once, also those reported later", () => {
  const catalog = twoHosts();
  const revision = catalog.setDraining(["a-instance" as InstanceId, "late-instance" as InstanceId]);
  expect(revision).toBe(catalog.revision);
  expect(ids(catalog.list())).toEqual(["h1:b:80", "h2:c:80"]);
  catalog.applyEndpoints("h2", put(endpoint("h2", "late")));
  expect(ids(catalog.list())).toEqual(["h1:b:80", "h2:c:80"]);
  expect(catalog.withheld().map((each) => each.reason)).toEqual(["draining", "draining"]);
  catalog.setDraining([]);
  expect(catalog.list().length).toBe(4);
});

test("Catalog makes no revision of what changes nothing", () => {
  const catalog = twoHosts();
  const { revision } = catalog;
  catalog.applyEndpoints("h1", { reset: true, upsert: [endpoint("h1", "b"), endpoint("h1", "a")], remove: [] });
  catalog.putHost(host("h2"));
  catalog.setDraining([]);
  catalog.removeHost("h9");
  catalog.applyEndpoints("h1", { reset: false, upsert: [], remove: ["h1:nobody:80"] });
  expect(catalog.revision).toBe(revision);
});

test("Catalog refuses endpoints that claim another host", () => {
  const catalog = twoHosts();
  const forged = [endpoint("h2", "c"), endpoint("h1", "x", { id: "h2:c:80" }), endpoint("h1", "y", { host: "h2" })];
  expect(catalog.applyEndpoints("h1", put(...forged))).toEqual(["h2:c:80", "h2:c:80", "h1:y:80"]);
  expect(ids(catalog.list())).toEqual(["h1:a:80", "h1:b:80", "h2:c:80"]);
  catalog.applyEndpoints("h1", { reset: false, upsert: [], remove: ["h2:c:80"] });
  expect(catalog.list().length).toBe(3);
});

test("Catalog replaces on reset and forgets a removed host", () => {
  const catalog = twoHosts();
  catalog.applyEndpoints("h1", { reset: true, upsert: [endpoint("h1", "z")], remove: [] });
  expect(ids(catalog.list())).toEqual(["h1:z:80", "h2:c:80"]);
  catalog.removeHost("h2");
  expect(ids(catalog.list())).toEqual(["h1:z:80"]);
  expect(catalog.hosts()).toEqual([host("h1")]);
});

test("Catalog folds many changes into one difference, and gives none for what it no longer knows", () => {
  const catalog = twoHosts();
  const start = catalog.revision;
  catalog.applyEndpoints("h1", put(endpoint("h1", "a", { health: "critical" })));
  catalog.applyEndpoints("h1", put(endpoint("h1", "a", { health: "passing" })));
  catalog.applyEndpoints("h1", put(endpoint("h1", "n")));
  catalog.applyEndpoints("h1", { reset: false, upsert: [], remove: ["h1:n:80"] });
  expect(catalog.changesSince(start)).toMatchObject({ upsert: [{ id: "h1:a:80" }], remove: ["h1:n:80"], hosts: null });
  expect(catalog.changesSince(catalog.revision)).toMatchObject({ upsert: [], remove: [] });
  expect(catalog.changesSince(catalog.revision + 1)).toBeNull();
  for (let round = 0; round < 40_000; round++) {
    catalog.applyEndpoints("h1", put(endpoint("h1", "a", { port: round % 2 })));
  }
  expect(catalog.changesSince(start)).toBeNull();
  expect(catalog.changesSince(catalog.revision - 100)).toMatchObject({ upsert: [{ id: "h1:a:80" }], remove: [] });
});

test("Catalog keeps the cost of a change to the change, with 100,000 endpoints", () => {
  const catalog = new Catalog();
  for (let index = 1; index <= 100; index++) {
    const name = `h${index}`;
    catalog.putHost(host(name));
    const upsert = Array.from({ length: 1000 }, (_, each) =>
      endpoint(name, `c${each}`, { service: `s${each}` as ServiceName }),
    );
    catalog.applyEndpoints(name, { reset: true, upsert, remove: [] });
  }
  const deltas: CatalogDelta[] = [];
  catalog.subscribe((delta) => deltas.push(delta));
  catalog.applyEndpoints("h7", put(endpoint("h7", "c5", { service: "s5" as ServiceName, health: "critical" })));
  expect(deltas.map(({ upsert, remove, hosts }) => [ids(upsert), remove, hosts])).toEqual([[["h7:c5:80"], [], null]]);
  expect(catalog.service("s5")?.endpoints.length).toBe(100);
});

type Step =
  | { readonly do: "put" | "remove"; readonly host: number; readonly name: number; readonly critical: boolean }
  | { readonly do: "host"; readonly host: number; readonly up: boolean }
  | { readonly do: "drain"; readonly names: readonly number[] }
  | { readonly do: "forget"; readonly host: number };

const small = fc.integer({ min: 1, max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constantFrom("put" as const, "remove" as const),
    host: small,
    name: small,
    critical: fc.boolean(),
  }),
  fc.record({ do: fc.constant("host" as const), host: small, up: fc.boolean() }),
  fc.record({ do: fc.constant("drain" as const), names: fc.array(small, { maxLength: 3 }) }),
  fc.record({ do: fc.constant("forget" as const), host: small }),
);

function applyStep(catalog: Catalog, each: Step): void {
  if (each.do === "host") catalog.putHost(host(`h${each.host}`, each.up));
  else if (each.do === "forget") catalog.removeHost(`h${each.host}`);
  else if (each.do === "drain") catalog.setDraining(each.names.map((name) => `c${name}-instance` as InstanceId));
  else {
    const one = endpoint(`h${each.host}`, `c${each.name}`, { health: each.critical ? "critical" : "passing" });
    const change = each.do === "put" ? put(one) : { reset: false, upsert: [], remove: [one.id] };
    catalog.applyEndpoints(one.host, change);
  }
}

/** A reader as an agent is one; it takes hosts whole and by their changes. */
class Reader {
  readonly endpoints = new Map<string, Endpoint>();
  readonly byName = new Map<string, CatalogHost>();
  hosts: readonly CatalogHost[] = [];
  revision = 1;

  take(delta: CatalogDelta): void {
    for (const each of delta.upsert) this.endpoints.set(each.id, each);
    for (const id of delta.remove) this.endpoints.delete(id);
    if (delta.hosts !== null) this.hosts = delta.hosts;
    const { upsert, remove } = delta.hostChanges ?? { upsert: delta.hosts ?? [], remove: [] };
    if (delta.hosts !== null && delta.hostChanges === null) this.byName.clear();
    for (const name of remove) this.byName.delete(name);
    for (const each of upsert) this.byName.set(each.name, each);
    expect([...this.byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))).toEqual([...this.hosts]);
    this.revision = delta.revision;
  }

  shown(): unknown {
    return [[...this.endpoints.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)), this.hosts];
  }
}

test("Catalog leads every reader to the same state: by each delta, by folded ones, by a snapshot", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 60 }), (steps) => {
      const catalog = new Catalog();
      const each = new Reader();
      const folded = new Reader();
      catalog.subscribe((delta) => each.take(delta));
      for (const [one, fold] of steps) {
        const { revision } = catalog;
        applyStep(catalog, one);
        expect(catalog.revision).toBeWithin(revision, revision + 2);
        if (fold) folded.take(catalog.changesSince(folded.revision) ?? catalog.snapshot());
      }
      folded.take(catalog.changesSince(folded.revision) ?? catalog.snapshot());
      const fresh = new Reader();
      fresh.take(catalog.snapshot());
      expect(each.shown()).toEqual(fresh.shown());
      expect(folded.shown()).toEqual(fresh.shown());
      const visible = new Set(ids(catalog.list()));
      for (const { endpoint: hidden } of catalog.withheld()) expect(visible.has(hidden.id)).toBe(false);
    }),
    { numRuns: 300 },
  );
});
