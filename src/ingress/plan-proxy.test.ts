import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Endpoint } from "../model/endpoint.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { type ProxyAction, proxyPaths } from "../platform/ports/proxy.ts";
import { FakeProxy } from "../sim/fake-proxy.ts";
import { endpointFixture as endpoint } from "./endpoint.fixture.ts";
import { busyLeavers, type DesiredProxy, desiredProxy, planProxy, SPARE_BACKENDS_MAX } from "./plan-proxy.ts";
import { defaultProxySettings } from "./proxy-settings.ts";

const SETTINGS = defaultProxySettings(proxyPaths("/run/apollo/ingress"));
const desire = (endpoints: readonly Endpoint[]): DesiredProxy =>
  desiredProxy(endpoints, { ingressDomain: "example.com" }, SETTINGS);

async function pass(proxy: FakeProxy, desired: DesiredProxy): Promise<readonly ProxyAction[]> {
  const actions = planProxy(desired, proxy.state());
  for (const action of actions) await proxy.apply(action);
  return actions;
}

const format = (actions: readonly ProxyAction[]): readonly string[] =>
  actions.map((action) => {
    if (action.kind === "set-server") return `${action.name.slice(0, 1)} ${action.state}`;
    if (action.kind === "add-server" || action.kind === "delete-server")
      return `${action.kind} ${action.name.slice(0, 1)}`;
    if (action.kind === "put-map" || action.kind === "delete-map") return `${action.kind} ${action.key}`;
    return action.kind;
  });

const A = endpoint({ container: "a", address: "10.2.1.2" });
const B = endpoint({ container: "b", address: "10.2.1.3" });
const OTHER = endpoint({ service: "other", container: "o", address: "10.2.1.4" });

test("planProxy() loads what does not run, and then has nothing to do", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  expect(format(await pass(proxy, desire([A])))).toEqual(["load"]);
  expect(await pass(proxy, desire([A]))).toEqual([]);
});

test("planProxy() changes servers without a load: the new one first, the old one deleted by a later pass", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  await pass(proxy, desire([A]));
  expect(format(await pass(proxy, desire([B])))).toEqual(["add-server b", "b ready", "a maint", "save"]);
  expect(format(await pass(proxy, desire([B])))).toEqual(["delete-server a"]);
  expect(proxy.loads).toBe(1);
});

test("planProxy() waits with the deletion for requests and idle connections", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  await pass(proxy, desire([A, B]));
  const [name = ""] = proxy
    .state()
    .servers.filter((server) => server.name.startsWith("a"))
    .map((server) => server.name);
  await pass(proxy, desire([B]));
  proxy.setConnections("svc_web", name, { sessions: 1, idle: 0 });
  expect(await pass(proxy, desire([B]))).toEqual([]);
  expect(busyLeavers(desire([B]), proxy.state())).toEqual([`svc_web/${name}`]);
  proxy.setConnections("svc_web", name, { sessions: 0, idle: 1 });
  expect(await pass(proxy, desire([B]))).toEqual([]);
  expect(busyLeavers(desire([B]), proxy.state())).toEqual([]);
  proxy.setConnections("svc_web", name, { sessions: 0, idle: 0 });
  expect(format(await pass(proxy, desire([B])))).toEqual(["delete-server a"]);
});

test("planProxy() makes a server that comes back before its deletion ready again", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  await pass(proxy, desire([A, B]));
  await pass(proxy, desire([B]));
  expect(format(await pass(proxy, desire([A, B])))).toEqual(["a ready", "save"]);
});

test("planProxy() loads for a new service, and keeps the backend of one that went for its return", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  await pass(proxy, desire([A]));
  expect(format(await pass(proxy, desire([A, OTHER])))).toEqual(["load"]);
  expect(format(await pass(proxy, desire([A])))).toEqual(["delete-map other.example.com", "o maint", "save"]);
  await pass(proxy, desire([A]));
  expect(format(await pass(proxy, desire([A, OTHER])))).toEqual([
    "add-server o",
    "o ready",
    "put-map other.example.com",
    "save",
  ]);
  expect(proxy.loads).toBe(2);
});

test("planProxy() drops spare backends once there are too many", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  const many = Array.from({ length: SPARE_BACKENDS_MAX + 1 }, (_, i) =>
    endpoint({ service: `s${i}`, container: `c${i}` }),
  );
  await pass(proxy, desire([A, ...many]));
  expect(format(await pass(proxy, desire([A])))).toEqual(["load"]);
  expect(proxy.state().backends).toEqual(["svc_web"]);
});

test("planProxy() writes the file anew when only the file is wrong", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  await pass(proxy, desire([A]));
  await proxy.apply({ kind: "save", text: "edited", map: {} });
  expect(format(await pass(proxy, desire([A])))).toEqual(["save"]);
});

test("planProxy() loads again after another version's structure", async () => {
  const proxy = new FakeProxy({ clock: systemClock });
  const desired = desire([A]);
  await pass(proxy, { ...desired, structure: "0", text: desired.text.replace(desired.structure, "0") });
  expect(format(await pass(proxy, desired))).toEqual(["load"]);
});

const arbitraryEndpoints = fc
  .uniqueArray(
    fc.record({
      service: fc.constantFrom("a", "b", "c"),
      container: fc.constantFrom("1", "2", "3", "4"),
      last: fc.integer({ min: 2, max: 4 }),
      health: fc.constantFrom("passing" as const, "critical" as const),
    }),
    { selector: (one) => `${one.service}${one.container}`, maxLength: 10 },
  )
  .map((all) =>
    all.map(({ service, container, last, health }) =>
      endpoint({ service, container: `${service}${container}`, address: `10.2.1.${last}`, health }),
    ),
  );

test("planProxy() converges from any state under any load, never hurts a session, adds before it removes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(arbitraryEndpoints, fc.nat()), { minLength: 1, maxLength: 6 }),
      async (steps) => {
        const proxy = new FakeProxy({ clock: systemClock });
        for (const [endpoints, load] of steps) {
          const desired = desire(endpoints);
          const before = proxy.state();
          const actions = planProxy(desired, before);
          const kinds = actions.map((action) => (action.kind === "set-server" ? action.state : action.kind));
          expect(kinds.lastIndexOf("ready")).toBeLessThan(
            kinds.includes("maint") ? kinds.indexOf("maint") : kinds.length,
          );
          // The strict fake throws at a deletion under load, a second addition, or a server of a backend that is not there.
          for (const action of actions) await proxy.apply(action);
          proxy.state().servers.forEach((server, index) => {
            if ((load >> index) % 2 === 1) proxy.setConnections(server.backend, server.name, { sessions: 1, idle: 1 });
          });
          const want = desired.backends.flatMap((backend) =>
            backend.servers.map((server) => `${backend.name}/${server.name}`),
          );
          expect(proxy.ready()).toEqual(want.toSorted());
          expect(proxy.state().map).toEqual({ ...desired.map });
        }
        for (const server of proxy.state().servers) {
          proxy.setConnections(server.backend, server.name, { sessions: 0, idle: 0 });
        }
        const last = desire(steps.at(-1)?.[0] ?? []);
        await pass(proxy, last);
        await pass(proxy, last);
        expect(planProxy(last, proxy.state())).toEqual([]);
        expect(proxy.state().servers.every((server) => server.state === "ready")).toBe(true);
      },
    ),
  );
});
