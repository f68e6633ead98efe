import { expect, test } from "bun:test";
import type { HostCheck } from "../model/host-check.ts";
import type { HostId } from "../model/ids.ts";
import { NODE, hostNamed, openConsul, type ConsulFixture } from "../sim/consul-fixture.ts";
import type { HostCheckSource } from "./agent-hub.ts";
import { relayHostChecks } from "./host-check-relay.ts";

const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

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
  };
  const hosts = { hostByName: (name: string) => ({ id: `id-${name}`, name }) as never };
  relayHostChecks({ parts: consul.parts, hub, hosts, log: QUIET });
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
