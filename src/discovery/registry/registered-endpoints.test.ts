import { expect, test } from "bun:test";
import { type Endpoint, namesServer, unjudged } from "../../model/endpoint.ts";
import type { ServiceName } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { type CatalogDelta, Catalog } from "../catalog.ts";
import { type ConsulFixture, hostNamed, openConsul } from "../../sim/consul-fixture.ts";
import { RegisteredEndpoints } from "./registered-endpoints.ts";

interface Followed {
  readonly catalog: Catalog;
  readonly deltas: readonly CatalogDelta[];
}

function follow(consul: ConsulFixture): Followed {
  const catalog = new Catalog();
  const deltas: CatalogDelta[] = [];
  catalog.subscribe((delta) => {
    deltas.push(delta);
    consul.parts.platform.applyEndpoints(delta.upsert.map(unjudged), delta.remove);
  });
  new RegisteredEndpoints(consul.parts.registry, {
    change: (change) => catalog.applyRegistered(change),
    judge: (what, name, said) => catalog.judge(what, name, said),
  });
  return { catalog, deltas };
}

/** What only DNS knows, but for the servers: those are in every cluster. */
function named({ catalog }: Followed): readonly string[] {
  const all = catalog.named().filter((endpoint) => !namesServer(endpoint));
  return all.map(({ service, address }) => `${service} ${address}`);
}

function servers({ catalog }: Followed): readonly string[] {
  const all = catalog.named().filter(namesServer);
  return all.map(({ id, service, address, port, health }) => `${id} ${service} ${address}:${port} ${health}`);
}

function shown({ catalog }: Followed): readonly string[] {
  return catalog
    .list()
    .map(({ id, service, address, port, health }) => `${id} ${service} ${address}:${port} ${health}`);
}

test("a registered service is an endpoint with the health of its checks, and goes with its registration", async () => {
  const consul = await openConsul();
  const followed = follow(consul);
  await consul.put("agent/service/register", { Name: "Web", ID: "w1", Port: 80, Check: { TTL: "10s" } });
  expect(shown(followed)).toEqual(["registry/n1/w1 web 192.0.2.11:80 critical"]);
  await consul.put("agent/check/pass/service:w1");
  expect(shown(followed)).toEqual(["registry/n1/w1 web 192.0.2.11:80 passing"]);
  await consul.put("agent/check/warn/service:w1");
  expect(shown(followed)).toEqual(["registry/n1/w1 web 192.0.2.11:80 warning"]);
  await consul.put("agent/service/deregister/w1");
  expect(shown(followed)).toEqual([]);
  expect(followed.catalog.withheld()).toEqual([]);
});

test("maintenance of service and node, and a dead host, make what is registered there critical", async () => {
  const consul = await openConsul();
  const followed = follow(consul);
  await consul.put("agent/service/register", { Name: "web", Port: 80 });
  const health = (): string | undefined => followed.catalog.list()[0]?.health;
  expect(health()).toBe("passing");
  await consul.put("agent/service/maintenance/web?enable=true");
  expect(health()).toBe("critical");
  await consul.put("agent/service/maintenance/web?enable=false");
  expect(health()).toBe("passing");
  await consul.put("agent/maintenance?enable=true");
  expect(health()).toBe("critical");
  await consul.put("agent/maintenance?enable=false");
  consul.parts.platform.setHosts([hostNamed("n1", { server: true, up: false })]);
  expect(health()).toBe("critical");
  consul.parts.platform.setHosts([hostNamed("n1", { server: true, address: "192.0.2.99" })]);
  expect(shown(followed)).toEqual(["registry/n1/web web 192.0.2.99:80 passing"]);
});

test("a node outside the cluster is a name, its services have its address, and all goes with it", async () => {
  const consul = await openConsul();
  const followed = follow(consul);
  const Service = { Service: "db", Port: 5432, Tags: ["primary"], Weights: { Passing: 7, Warning: 1 } };
  await consul.put("catalog/register", { Node: "ext", Address: "198.51.100.7", Service });
  expect(shown(followed)).toEqual(["registry/ext/db db 198.51.100.7:5432 passing"]);
  expect(followed.catalog.list()[0]?.weights).toEqual({ passing: 7, warning: 1 });
  expect(named(followed)).toEqual(["ext 198.51.100.7"]);
  await consul.put("catalog/register", { Node: "ext", Address: "198.51.100.8" });
  expect(shown(followed)).toEqual(["registry/ext/db db 198.51.100.8:5432 passing"]);
  await consul.put("catalog/deregister", { Node: "ext" });
  expect([...followed.catalog.list(), ...named(followed)]).toEqual([]);
});

test("servers are instances of `consul` that nobody but DNS lists, and go when they are none", async () => {
  const consul = await openConsul();
  const followed = follow(consul);
  const { platform } = consul.parts;
  expect(servers(followed)).toEqual(["registry-server/n1 consul 192.0.2.11:8300 passing"]);
  expect(followed.catalog.services()).toEqual([]);
  const down = hostNamed("n1", { server: true, up: false });
  const second = hostNamed("n2", { server: true, address: "192.0.2.12" });
  platform.setHosts([down, second]);
  expect(servers(followed)).toEqual([
    "registry-server/n1 consul 192.0.2.11:8300 critical",
    "registry-server/n2 consul 192.0.2.12:8300 passing",
  ]);
  const { length } = followed.deltas;
  platform.setHosts([down, second]);
  await consul.put("kv/a", "b");
  expect(followed.deltas.length).toBe(length);
  // What a client registers under that name is a service of its own.
  await consul.put("agent/service/register", { Name: "consul", ID: "mine", Port: 1 });
  platform.setHosts([hostNamed("n1", { server: false }), second]);
  expect(servers(followed)).toEqual(["registry-server/n2 consul 192.0.2.12:8300 passing"]);
  expect(shown(followed)).toEqual(["registry/n1/mine consul 192.0.2.11:1 passing"]);
  platform.setHosts([second]);
  expect(servers(followed)).toEqual(["registry-server/n2 consul 192.0.2.12:8300 passing"]);
});

test("what is registered waits for a host that left, and is there again with it", async () => {
  const consul = await openConsul();
  const followed = follow(consul);
  await consul.put("agent/service/register", { Name: "web", Port: 80 });
  const again = await consul.reopen();
  const second = follow(again);
  expect(shown(second)).toEqual(shown(followed));
  expect(second.deltas.length).toBe(1);
});

test("one change of many moves one endpoint, and comes back to nobody", async () => {
  const consul = await openConsul();
  const services = Array.from({ length: 2000 }, (_, at) => at);
  for (const at of services) {
    const Service = { Service: `s${at}`, Port: 80 };
    await consul.put("catalog/register", { Node: `x${at % 7}`, Address: "198.51.100.7", Service });
  }
  const { index } = consul.parts.registry;
  const followed = follow(consul);
  // Nothing of it is a change of the registry.
  expect(consul.parts.registry.index).toBe(index);
  expect(followed.catalog.list().length).toBe(2000);
  await consul.put("catalog/register", { Node: "x3", Address: "198.51.100.7", Service: { Service: "s3", Port: 81 } });
  expect(followed.deltas.map(({ upsert }) => upsert.length)).toEqual([2008, 1]);
  expect(consul.parts.registry.index).toBe(index + 1);
});

function container(name: string): Endpoint {
  return {
    id: `n1:${name}:80`,
    service: "app" as ServiceName,
    address: parseIpv4("10.2.1.2"),
    port: 80,
    protocol: "tcp",
    tags: [],
    meta: {},
    host: "n1",
    container: name,
    instanceId: null,
    appId: null,
    health: "passing",
  };
}

test("maintenance and checks of clients count for a container, and leave no trace when they end", async () => {
  const consul = await openConsul();
  const followed = follow(consul);
  const { catalog } = followed;
  catalog.putHost({ name: "n1", address: parseIpv4("192.0.2.11"), up: true });
  catalog.applyEndpoints("n1", { reset: true, upsert: [container("a")], remove: [] });
  const health = (): readonly string[] => catalog.list().map((each) => each.health);
  await consul.put("agent/service/maintenance/n1:a:80?enable=true");
  expect(health()).toEqual(["critical"]);
  const checks = (await consul.get("health/checks/app")) as readonly { CheckID: string; Status: string }[];
  expect(checks.map(({ CheckID, Status }) => `${CheckID} ${Status}`)).toEqual([
    "_service_maintenance:n1:a:80 critical",
    "service:n1:a:80 passing",
  ]);
  // What the host says meanwhile does not undo it.
  catalog.applyEndpoints("n1", { reset: false, upsert: [{ ...container("a"), tags: ["v2"] }], remove: [] });
  expect(catalog.list()).toMatchObject([
    { health: "critical", tags: ["v2"], verdict: { own: "passing", said: "critical" } },
  ]);
  await consul.put("agent/service/maintenance/n1:a:80?enable=false");
  expect(catalog.list()).toEqual([{ ...container("a"), tags: ["v2"] }]);
  await consul.put("agent/maintenance?enable=true");
  catalog.applyEndpoints("n1", { reset: false, upsert: [container("b")], remove: [] });
  expect(health()).toEqual(["critical", "critical"]);
  const again = follow(await consul.reopen());
  again.catalog.putHost({ name: "n1", address: parseIpv4("192.0.2.11"), up: true });
  again.catalog.applyEndpoints("n1", { reset: true, upsert: [container("a")], remove: [] });
  expect(again.catalog.list()).toMatchObject([{ health: "critical" }]);
});
