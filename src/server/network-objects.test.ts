import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { cidrContains, parseCidr, parseIpv4 } from "../model/ip.ts";
import type { VirtualService } from "../model/network-config.ts";
import { FakeStore } from "../sim/fake-store.ts";
import { SeededRandom } from "../sim/seeded-random.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { ClusterState } from "./cluster-state.ts";
import { networkObjects } from "./network-objects.ts";

async function open() {
  const clock = new VirtualClock();
  const store = new FakeStore({ clock, random: new SeededRandom(1) });
  const inTime = async <T>(task: Promise<T>): Promise<T> => {
    let done = false;
    const watched = task.finally(() => (done = true));
    watched.catch(() => undefined);
    while (!done) await clock.advance(10);
    return watched;
  };
  const state = await inTime(ClusterState.load(store, DEFAULT_SETTINGS));
  return { state, objects: networkObjects(state), inTime };
}

test("put() stores what is declared; a network keeps the identifier that it got", async () => {
  const { state, objects, inTime } = await open();
  const blue = await inTime(objects.put("network", "blue", { range: "10.9.0.0/16" }));
  const red = await inTime(objects.put("network", "red", { range: "10.9.0.0/16", mode: "layer2" }));
  expect([blue, red]).toMatchObject([{ vni: 1000 }, { vni: 1001 }]);
  await inTime(objects.remove("network", "blue"));
  expect(await inTime(objects.put("network", "red", { range: "10.8.0.0/16", vni: 1000 }))).toMatchObject({ vni: 1001 });
  expect(state.networkConfig().networks.map(({ name, range }) => [name, range])).toEqual([["red", "10.8.0.0/16"]]);
});

test("put() refuses a body with another name, and remove() what is not there", async () => {
  const { objects, inTime } = await open();
  expect(inTime(objects.put("virtual", "web", { name: "db" }))).rejects.toThrow(/its body names "db"/);
  expect(inTime(objects.remove("virtual", "web"))).rejects.toThrow(/Cannot find virtual "web"/);
});

test("put() lets the default network's policy be set, and nothing else of it", async () => {
  const { state, objects, inTime } = await open();
  const stored = await inTime(objects.put("network", "apollo", { policy: "deny" }));
  expect(stored).toMatchObject({ name: "apollo", policy: "deny", range: DEFAULT_SETTINGS.range });
  // What was read may be sent back; its identifier is not one of those of declared networks.
  expect(await inTime(objects.put("network", "apollo", { ...stored, policy: "open" }))).toMatchObject({
    policy: "open",
  });
  expect("vni" in stored).toBe(false);
  for (const change of [{ range: "10.77.0.0/16" }, { mode: "layer2" }, { internal: true }]) {
    expect(inTime(objects.put("network", "apollo", change))).rejects.toThrow(/only its policy can be set/);
  }
  expect(state.networkConfig().networks).toHaveLength(1);
});

test("put() gives a service one address for life, and refuses a wish that another one has", async () => {
  const { state, objects, inTime } = await open();
  const made = await inTime(objects.put("virtual", "web", {}));
  const { address } = made as VirtualService;
  expect(cidrContains(parseCidr(DEFAULT_SETTINGS.virtualRange), address ?? parseIpv4("0.0.0.0"))).toBe(true);
  expect(await inTime(objects.put("virtual", "web", { service: "web2" }))).toMatchObject({ address, service: "web2" });
  expect(inTime(objects.put("virtual", "db", { address }))).rejects.toThrow(/"web" has it/);
  state.settings = { ...state.settings, virtualRange: "10.2.128.0/17" };
  expect(inTime(objects.put("virtual", "db", {}))).rejects.toThrow(/overlaps 10.2.0.0/);
});

test("put() refuses a publication on a port that is taken", async () => {
  const { objects, inTime } = await open();
  await inTime(objects.put("publication", "one", { service: "web", port: 8081 }));
  expect(inTime(objects.put("publication", "two", { service: "db", port: 8081 }))).rejects.toThrow(/publication "one"/);
  expect(inTime(objects.put("publication", "two", { service: "db", port: 80 }))).rejects.toThrow(/the ingress/);
  // The same name is the same publication: bound to another service.
  expect(await inTime(objects.put("publication", "one", { service: "db", port: 8081 }))).toMatchObject({
    service: "db",
  });
});
