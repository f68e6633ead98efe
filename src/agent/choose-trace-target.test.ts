import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { Holder } from "../model/holder.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import type { VirtualService } from "../model/network-config.ts";
import { type TraceTarget, chooseTraceTarget } from "./choose-trace-target.ts";

const INPUT = {
  endpoints: [{ service: "web" } as Endpoint],
  holders: [
    {
      container: "front",
      address: parseIpv4("10.2.1.5"),
      app: null,
      instance: null,
      services: [] as readonly string[],
    } as Holder,
    {
      container: "x1",
      address: parseIpv4("10.2.1.6"),
      app: "/shop",
      instance: "shop.instance-12345678-9abc",
      services: ["shop-api"] as readonly string[],
    } as Holder,
    {
      container: "x2",
      address: parseIpv4("10.2.1.7"),
      app: "/batch",
      instance: "batch.instance-aaaaaaaa-9abc",
      services: [] as readonly string[],
    } as Holder,
  ],
  hosts: [{ name: "h1", address: parseIpv4("192.0.2.1"), up: true }],
  virtuals: [{ name: "pg", service: "postgres", address: parseIpv4("10.3.0.9") } as VirtualService],
  settings: DEFAULT_SETTINGS,
};

const CASES: readonly (readonly [text: string, expected: Partial<TraceTarget>])[] = [
  ["10.2.1.5", { addresses: [parseIpv4("10.2.1.5")], virtual: null }],
  [
    "10.3.0.9",
    {
      addresses: [parseIpv4("10.3.0.9")],
      virtual: { name: "pg", address: parseIpv4("10.3.0.9"), service: "postgres" },
    },
  ],
  ["host:h1", { addresses: [parseIpv4("192.0.2.1")], dnsName: null }],
  ["host:h9", { addresses: [], dnsName: null }],
  ["web", { dnsName: "web.service.consul", service: "web" }],
  ["WEB", { dnsName: "web.service.consul" }],
  ["front", { dnsName: "front.weave.local", service: null }],
  ["shop", { dnsName: "shop-api.service.consul", service: "shop-api" }],
  ["/shop", { dnsName: "shop-api.service.consul" }],
  ["12345678", { dnsName: null, addresses: [parseIpv4("10.2.1.6")] }],
  ["batch", { dnsName: null, addresses: [parseIpv4("10.2.1.7")] }],
  ["h1", { dnsName: "h1.node.dc1.consul" }],
  ["web.service.consul.", { dnsName: "web.service.consul", service: "web" }],
  [
    "pg.virtual.consul",
    { dnsName: "pg.virtual.consul", virtual: { name: "pg", address: parseIpv4("10.3.0.9"), service: "postgres" } },
  ],
  ["example.org", { dnsName: "example.org", service: null, virtual: null }],
  ["nosuch", { dnsName: "nosuch.service.consul" }],
  ["no such", { dnsName: null, addresses: [], service: null }],
];

for (const [text, expected] of CASES) {
  test(`chooseTraceTarget() of "${text}"`, () => expect(chooseTraceTarget(text, INPUT)).toMatchObject(expected));
}

const RANGE6 = "fd12:3456:789a::/64";
const SIX = {
  ...INPUT,
  settings: { ...DEFAULT_SETTINGS, range6: RANGE6 },
  holders: INPUT.holders.map((holder) => ({
    ...holder,
    address6: parseIpv6(`fd12::${holder.container}`.replace(/[^0-9a-f:]/g, "")),
  })),
  family: 6,
  address6Of: (host: string) => (host === "h1" ? parseIpv6("fd12::101") : null),
} as const;

test.each([
  ["fd12::7", { addresses: [parseIpv6("fd12::7")], virtual: null }],
  // The twin of 10.3.0.9.
  [
    "fd12:3456:789a:0:a03:0:a03:9",
    { virtual: { name: "pg", address: parseIpv6("fd12:3456:789a:0:a03:0:a03:9"), service: "postgres" } },
  ],
  [
    "pg.virtual.consul",
    { virtual: { name: "pg", address: parseIpv6("fd12:3456:789a:0:a03:0:a03:9"), service: "postgres" } },
  ],
  ["host:h1", { addresses: [parseIpv6("fd12::101")] }],
  ["batch", { addresses: [parseIpv6("fd12::2")] }],
  ["web", { dnsName: "web.service.consul" }],
] as const)("chooseTraceTarget() by IPv6 of %s", (text, expected) => {
  expect(chooseTraceTarget(text, SIX)).toMatchObject(expected as Partial<TraceTarget>);
});

test("chooseTraceTarget() by IPv6 in a cluster without it: hosts and virtual addresses are nowhere", () => {
  const none = { ...INPUT, family: 6, address6Of: () => null } as const;
  expect(chooseTraceTarget("host:h1", none)).toMatchObject({ addresses: [] });
  expect(chooseTraceTarget("pg.virtual.consul", none)).toMatchObject({ virtual: null });
});
