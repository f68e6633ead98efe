import { expect, test } from "bun:test";
import { NODE, hostNamed, openConsul } from "../../sim/consul-fixture.ts";

interface Shown {
  readonly CheckID: string;
  readonly Status: string;
  readonly Output: string;
}

test("an alias check says the worst of its target's checks, and critical when that is gone", async () => {
  const consul = await openConsul();
  const statusOf = async (id: string): Promise<string> => {
    const checks = (await consul.get("agent/checks")) as Readonly<Record<string, Shown>>;
    return `${checks[id]?.Status}: ${checks[id]?.Output}`;
  };
  await consul.put("agent/service/register", { Name: "db", Checks: [{ CheckID: "db", TTL: "1h", Status: "passing" }] });
  await consul.put("agent/service/register", { Name: "web", Checks: [{ CheckID: "alias", AliasService: "db" }] });
  await consul.clock.advance(1000);
  expect(await statusOf("alias")).toBe("passing: All checks passing.");
  await consul.put("agent/check/warn/db?note=slow");
  await consul.clock.advance(1000);
  expect(await statusOf("alias")).toBe("warning: Aliased check \"Service 'db' check\" failing: slow");
  await consul.put("agent/check/fail/db?note=broken");
  await consul.clock.advance(1000);
  expect(await statusOf("alias")).toStartWith("critical: ");
  await consul.put("agent/check/pass/db");
  await consul.clock.advance(1000);
  expect(await statusOf("alias")).toBe("passing: All checks passing.");
  await consul.put("agent/service/deregister/db");
  await consul.clock.advance(1000);
  expect(await statusOf("alias")).toBe(`critical: Service "db" on node "${NODE}" is not there`);
  consul.parts.close();
});

test("an alias of a node follows its liveness, and survives a restart", async () => {
  const consul = await openConsul();
  const both = (up: boolean) => [hostNamed(NODE, { server: true }), hostNamed("n2", { up, address: "192.0.2.12" })];
  consul.parts.platform.setHosts(both(true));
  await consul.put("agent/check/register", { Name: "peer", AliasNode: "n2" });
  await consul.clock.advance(1000);
  const status = (parts: typeof consul.parts): string | undefined => parts.registry.view.check(NODE, "peer")?.status;
  expect(status(consul.parts)).toBe("passing");
  const again = await consul.reopen();
  again.parts.platform.setHosts(both(false));
  await again.clock.advance(1000);
  expect(status(again.parts)).toBe("critical");
  again.parts.close();
});

test("what the store does not take is tried again: an alias, a service that is due to go, rows of a host that is gone", async () => {
  const consul = await openConsul();
  const { clock, parts, store } = consul;
  const { view } = parts.registry;
  const setHosts = (...others: readonly ReturnType<typeof hostNamed>[]): void =>
    parts.platform.setHosts([hostNamed(NODE, { server: true }), ...others]);
  setHosts(hostNamed("n2"));
  await consul.put("catalog/register", { Node: "n2", Address: "192.0.2.12", Service: { Service: "old" } });
  const check = { CheckID: "db", TTL: "1h", DeregisterCriticalServiceAfter: "1m" };
  await consul.put("agent/service/register", { Name: "db", Check: check });
  await consul.put("agent/check/register", { Name: "alias", AliasNode: "n2" });
  await clock.advance(1000);
  expect(view.check(NODE, "alias")?.status).toBe("passing");

  store.refuseNext(2);
  setHosts(hostNamed("n2", { up: false }));
  await clock.advance(500);
  expect(view.check(NODE, "alias")?.status).toBe("passing");
  await clock.advance(3000);
  expect(view.check(NODE, "alias")?.status).toBe("critical");

  store.refuseNext(1000);
  setHosts();
  await clock.advance(70_000);
  expect([...parts.registry.tables.ids("service", "")]).toHaveLength(2);
  store.refuseNext(0);
  await clock.advance(3000);
  expect([...parts.registry.tables.ids("service", "")]).toEqual([]);
  parts.close();
});
