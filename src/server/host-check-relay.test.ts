import { expect, test } from "bun:test";
import type { HostCheck, HostCheckResult } from "../model/host-check.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { HostId, ServiceName } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { NODE, hostNamed, openConsul, type ConsulFixture } from "../sim/consul-fixture.ts";
import type { HostCheckSource } from "./agent-hub.ts";
import { relayHostChecks } from "./host-check-relay.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";

/** The hosts' side of the relay: what each was told. */
async function openRelay(): Promise<{ consul: ConsulFixture; source: HostCheckSource; told: string[] }> {
  const consul = await openConsul();
  consul.parts.platform.setHosts([hostNamed(NODE, { server: true }), hostNamed("n2")]);
  const told: string[] = [];
  const sources: HostCheckSource[] = [];
  const hub = {
    serveChecks: (source: HostCheckSource) => void sources.push(source),
    sendChecks: (host: HostId, { upsert, remove }: { upsert: readonly HostCheck[]; remove: readonly string[] }) => {
      for (const { id, type } of upsert) told.push(`${host} +${id} ${type}`);
      for (const id of remove) told.push(`${host} -${id}`);
    },
    reportCheck: (host: HostId, { id, status, output }: HostCheckResult) => {
      told.push(`${host} ${id} is ${status}: ${output}`);
      return host !== "id-n2";
    },
  };
  const hosts = { hostByName: (name: string) => ({ id: `id-${name}`, name }) as never };
  relayHostChecks({ parts: consul.parts, hub, hosts, log: SILENT_LOG });
  const [source] = sources;
  if (source === undefined) throw new Error("the relay serves no checks");
  return { consul, source, told };
}

const WEB = {
  Name: "web",
  Checks: [
    { CheckID: "tcp", TCP: "127.0.0.1:80", Interval: "5s" },
    { CheckID: "ttl", TTL: "1h" },
  ],
};

test("a host is told of the checks that it runs: new ones, changed ones, and those that are gone", async () => {
  const { consul, source, told } = await openRelay();
  await consul.put("agent/service/register", WEB);
  expect(told).toEqual([`id-${NODE} +tcp tcp`]);
  expect(source.checksOf(NODE)).toMatchObject([{ id: "tcp", type: "tcp", status: "critical" }]);
  expect(source.checksOf("n2")).toEqual([]);
  // Registered again as it is: nothing to tell.
  await consul.put("agent/service/register", WEB);
  expect(told).toHaveLength(1);
  await consul.put("agent/check/register", {
    CheckID: "tcp",
    Name: "x",
    TCP: "127.0.0.1:81",
    Interval: "5s",
    ServiceID: "web",
  });
  expect(told.slice(1)).toEqual([`id-${NODE} +tcp tcp`]);
  await consul.put("agent/service/deregister/web");
  expect(told.slice(2)).toEqual([`id-${NODE} -tcp`]);
  consul.parts.close();
});

test("what a host says is kept, also against others' words, and only for checks that it runs", async () => {
  const { consul, source } = await openRelay();
  const { view } = consul.parts.registry;
  await consul.put("agent/service/register", WEB);
  source.take(NODE, [
    { id: "tcp", status: "passing", output: "open" },
    { id: "ttl", status: "passing", output: "not the host's business" },
    { id: "none", status: "passing", output: "" },
  ]);
  await consul.clock.advance(100);
  expect(view.check(NODE, "tcp")).toMatchObject({ status: "passing", output: "open" });
  expect(view.check(NODE, "ttl")?.status).toBe("critical");
  // Another host speaks for its own checks alone.
  source.take("n2", [{ id: "tcp", status: "critical", output: "liar" }]);
  await consul.clock.advance(100);
  expect(view.check(NODE, "tcp")?.status).toBe("passing");
  // A client that writes the catalog over it does not change what is true.
  const { definition: Definition } = view.check(NODE, "tcp") ?? {};
  const Check = { CheckID: "tcp", Name: "tcp", Type: "tcp", ServiceID: "web", Status: "critical", Definition };
  await consul.put("catalog/register", { Node: NODE, SkipNodeUpdate: true, Check });
  await consul.clock.advance(100);
  expect(view.check(NODE, "tcp")?.status).toBe("passing");
  consul.parts.close();
});

test("a check that was taken away and registered again begins anew", async () => {
  const { consul, source } = await openRelay();
  const { view } = consul.parts.registry;
  await consul.put("agent/service/register", WEB);
  source.take(NODE, [{ id: "tcp", status: "passing", output: "open" }]);
  await consul.clock.advance(100);
  await consul.put("agent/service/deregister/web");
  await consul.put("agent/service/register", WEB);
  await consul.clock.advance(100);
  expect(view.check(NODE, "tcp")?.status).toBe("critical");
  consul.parts.close();
});

test("checks of containers show with what they say, and a word on one with a time to live goes to its host", async () => {
  const { consul, told } = await openRelay();
  const check = { kind: "container", name: "Check of the container", output: "", interval: "", timeout: "" } as const;
  const endpoint = (host: string): Endpoint => ({
    id: `${host}:box:80`,
    service: "box" as ServiceName,
    address: parseIpv4("10.2.1.2"),
    port: 80,
    protocol: "tcp",
    tags: [],
    meta: {},
    host,
    container: "box",
    instanceId: null,
    appId: null,
    health: "critical",
    checks: [
      { ...check, type: "ttl", status: "critical" },
      { ...check, kind: "engine", type: "docker", status: "passing", output: "The engine says: healthy" },
    ],
  });
  consul.parts.platform.resetEndpoints([endpoint(NODE), endpoint("n2")]);
  const checks = (await consul.get("health/checks/box")) as readonly Record<string, unknown>[];
  expect(checks.map(({ CheckID, Type, Status, Output }) => [CheckID, Type, Status, Output])).toEqual([
    [`service:${NODE}:box:80:1`, "ttl", "critical", ""],
    [`service:${NODE}:box:80:2`, "docker", "passing", "The engine says: healthy"],
    ["service:n2:box:80:1", "ttl", "critical", ""],
    ["service:n2:box:80:2", "docker", "passing", "The engine says: healthy"],
  ]);
  await consul.put(`agent/check/pass/service:${NODE}:box:80:1?note=well`);
  expect(told).toEqual([`id-${NODE} ${NODE}:box:80 is passing: well`]);
  const refused = await consul.ask("PUT", `agent/check/pass/service:${NODE}:box:80:2`);
  expect(refused.status).toBe(500);
  // One check less: what the endpoint does not name any more goes.
  const [first] = endpoint(NODE).checks ?? [];
  consul.parts.platform.applyEndpoints([{ ...endpoint(NODE), checks: first === undefined ? [] : [first] }], []);
  expect(consul.parts.registry.view.checksOn(NODE).map(({ id }) => id)).toEqual([
    "serfHealth",
    `service:${NODE}:box:80`,
  ]);
  consul.parts.close();
});
