import { expect, test } from "bun:test";
import { type Container, LABEL_INSTANCE } from "../../model/container.ts";
import { isNameOnly } from "../../model/endpoint.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import { type RegistrationContext, deriveEndpoints } from "./derive-endpoints.ts";
import { deriveNames } from "./derive-names.ts";
import { containerOf } from "../../model/container.fixture.ts";

const CONTEXT: RegistrationContext = {
  hostName: "h1",
  hostAddress: parseIpv4("192.168.0.1"),
  assignments: new Map(),
  reports: new Map(),
  engineNetworkName: "apollo",
  otherNetworks: ["blue"],
};

function container(name: string, over: Partial<Container> = {}): Container {
  const addresses = { apollo: parseIpv4("10.2.1.7") };
  return containerOf({ id: name, name, addresses, exposedPorts: [{ port: 80, protocol: "tcp" }], ...over });
}

function names(
  containers: readonly Container[],
  declared: Parameters<typeof deriveNames>[1]["declared"] = [],
): readonly string[] {
  const services = deriveEndpoints(containers, CONTEXT).endpoints;
  const found = deriveNames(containers, { context: CONTEXT, services, declared });
  expect(found.every(isNameOnly)).toBe(true);
  return found.map(({ id, service, address }) => `${id} ${service} ${address}`);
}

test("deriveNames() names who runs on our networks and is named by no service already", () => {
  expect(names([container("Plain_1")])).toEqual(["h1:name:plain_1:10.2.1.7 plain_1 10.2.1.7"]);
  expect(names([container("web", { env: { SERVICE_NAME: "web" } })])).toEqual([]);
  expect(names([container("web", { env: { SERVICE_IGNORE: "1", SERVICE_NAME: "x" } })])).toHaveLength(1);
  expect(names([container("a", { state: "exited" }), container("b", { addresses: {} })])).toEqual([]);
  expect(names([container("host", { addresses: { host: parseIpv4("192.168.0.1") } })])).toEqual([]);
  expect(names([container("bad..name")])).toEqual([]);
});

test("deriveNames() knows both families of what was declared", () => {
  const six = parseIpv6("fd12:3456:789a:0:a02:100:a02:182");
  const declared = [
    { name: "db", address: parseIpv4("10.2.1.130"), address6: six },
    { name: "old", address: parseIpv4("10.2.1.131"), address6: null },
  ];
  const found = deriveNames([], { context: CONTEXT, services: [], declared });
  expect(found.map(({ service, address6 = null }) => `${service} ${address6}`)).toEqual([`db ${six}`, "old null"]);
});

test("deriveNames() takes aliases on networks of the engine's plugin, and what was declared", () => {
  const blue = { blue: parseIpv4("10.2.1.9") };
  const aliased = container("one", { addresses: blue, aliases: { blue: ["uno"], other: ["nope"] } });
  expect(names([aliased], [{ name: "db", address: parseIpv4("10.2.1.130") }])).toEqual([
    "h1:name:db:10.2.1.130 db 10.2.1.130",
    "h1:name:one:10.2.1.9 one 10.2.1.9",
    "h1:name:uno:10.2.1.9 uno 10.2.1.9",
  ]);
});

test("deriveNames() leaves out an instance whose assignment is gone", () => {
  expect(names([container("i", { labels: { [LABEL_INSTANCE]: "web.instance-1" } })])).toEqual([]);
});
