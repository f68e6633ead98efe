import { expect, test } from "bun:test";
import type { Container } from "../../model/container.ts";
import { LABEL_APP, LABEL_INSTANCE } from "../../model/container.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Holder } from "../../model/holder.ts";
import { parseCidr, parseIpv4 } from "../../model/ip.ts";
import type { HolderContext } from "./derive-holders.ts";
import { deriveHolders } from "./derive-holders.ts";
import { containerOf } from "../../model/container.fixture.ts";

const ADDRESS = parseIpv4("10.2.1.7");
const CONTEXT: HolderContext = {
  hostName: "h1",
  range: parseCidr("10.2.0.0/16"),
  otherNetworks: [],
  networks: ["apollo", "blue"],
  endpoints: [],
  labelKeys: new Set(["tier"]),
  before: new Map(),
};

function container(over: Partial<Container> = {}): Container {
  return containerOf({ labels: { tier: "front", other: "x" }, addresses: { apollo: ADDRESS }, ...over });
}

const endpoint = { container: "box", service: "api" } as unknown as Endpoint;

test("deriveHolders() tells of a container without ports, with the labels that rules name", () => {
  expect(deriveHolders([container()], CONTEXT)).toEqual([
    {
      id: "h1:box:apollo",
      address: ADDRESS,
      network: "apollo",
      host: "h1",
      container: "box",
      instance: null,
      app: null,
      services: [],
      labels: { tier: "front" },
    },
  ]);
});

test("deriveHolders() knows app, instance and services, and one holder a network", () => {
  const labels = { [LABEL_APP]: "/web", [LABEL_INSTANCE]: "web.instance-1" };
  const blue = parseIpv4("10.9.0.4");
  const holders = deriveHolders([container({ labels, addresses: { apollo: ADDRESS, blue, bridge: blue } })], {
    ...CONTEXT,
    endpoints: [endpoint],
  });
  expect(holders.map(({ network, app, instance, services }) => [network, app, instance, services])).toEqual([
    ["apollo", "/web", "web.instance-1", ["api"]],
    ["blue", "/web", "web.instance-1", ["api"]],
  ]);
});

test("deriveHolders() tells of a fixed address before the container starts, and of none that is over", () => {
  const states = ["created", "restarting", "running", "paused", "exited", "dead"] as const;
  const known = states.map((state) => {
    const addresses = state === "running" || state === "paused" ? { apollo: ADDRESS } : {};
    return deriveHolders([container({ state, addresses, fixedAddress: ADDRESS })], CONTEXT).length;
  });
  expect(known).toEqual([1, 1, 1, 1, 0, 0]);
  const elsewhere = container({ state: "created", addresses: {}, fixedAddress: parseIpv4("172.18.0.5") });
  expect(deriveHolders([elsewhere], CONTEXT)).toEqual([]);
});

test("deriveHolders() keeps the services of a container that left the catalog, and the object while nothing changed", () => {
  const first = deriveHolders([container()], { ...CONTEXT, endpoints: [endpoint] });
  const before = new Map(first.map((holder): [string, Holder] => [holder.id, holder]));
  const second = deriveHolders([container()], { ...CONTEXT, before });
  expect(second[0]).toBe(first[0] as Holder);
  expect(second[0]?.services).toEqual(["api"]);
});

test("deriveHolders() takes the engine's default network when it lies on our bridge", () => {
  const box = container({ addresses: { bridge: ADDRESS } });
  const networks = (context: HolderContext): readonly string[] =>
    deriveHolders([box], context).map(({ network }) => network);
  expect([networks(CONTEXT), networks({ ...CONTEXT, otherNetworks: ["bridge"] })]).toEqual([[], ["apollo"]]);
});
