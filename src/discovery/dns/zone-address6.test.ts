import { expect, test } from "bun:test";
import type { Endpoint } from "../../model/endpoint.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { parseCidr6, parseIpv6 } from "../../model/ip6.ts";
import { nameKey } from "./domain-name.ts";
import type { NameKey } from "./domain-name.ts";
import { TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_PTR, TYPE_SRV } from "./wire-format.ts";
import { type Zone, buildZone } from "./zone.ts";
import { endpointOf } from "../../model/endpoint.fixture.ts";

const RANGE6 = "fd12:3456:789a::/64";
const ADDRESS6 = parseIpv6("fd12:3456:789a:0:a02:100:a02:107");

function endpoint(change: Partial<Endpoint> = {}): Endpoint {
  return endpointOf({ id: "h1:web:80", service: "web", address: "10.2.1.7", port: 80, container: "web-1", ...change });
}

function zoneOf(endpoints: readonly Endpoint[]): Zone {
  const options = { domain: "consul", containerDomain: "weave.local", datacenter: "dc1", ttlSeconds: 0 };
  return buildZone(endpoints, [], { ...options, range6: parseCidr6(RANGE6) });
}

function count(zone: Zone, name: string, type: number): number | string {
  const found = zone.find(keyOf(name));
  return typeof found === "string" ? found : (found.records.get(type)?.count ?? 0);
}

function keyOf(name: string): NameKey {
  const key = nameKey(name);
  if (key === null) throw new Error(`No domain name: ${name}`);
  return key;
}

const REVERSE = "7.0.1.0.2.0.a.0.0.0.1.0.2.0.a.0.0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa";

test("services and containers are answered with AAAA where they have IPv6, with A always", () => {
  const other = endpoint({ id: "h2:web:80", address: parseIpv4("10.2.2.7"), container: "web-2", host: "h2" });
  const zone = zoneOf([endpoint({ address6: ADDRESS6 }), other]);
  for (const name of ["web.service.consul", "web-1.weave.local"]) expect(count(zone, name, TYPE_AAAA)).toBe(1);
  expect([TYPE_A, TYPE_ANY, TYPE_SRV].map((type) => count(zone, "web.service.consul", type))).toEqual([2, 3, 2]);
  expect([TYPE_A, TYPE_AAAA].map((type) => count(zone, "web-2.weave.local", type))).toEqual([1, 0]);
  const found = zone.find(keyOf("web-1.weave.local"));
  const bytes = typeof found === "string" ? null : found.records.get(TYPE_AAAA)?.bytes;
  expect(Buffer.from(bytes?.subarray(-16) ?? []).toString("hex")).toBe("fd123456789a00000a0201000a020107");
});

test("an IPv6 address leads back to its names, and one of the range that is nobody's is ours to deny", () => {
  const zone = zoneOf([endpoint({ address6: ADDRESS6 })]);
  expect(count(zone, REVERSE, TYPE_PTR)).toBe(1);
  expect(count(zone, REVERSE.replace(/^7/, "8"), TYPE_PTR)).toBe("missing");
  expect(count(zone, REVERSE.replace("d.f.ip6", "d.e.ip6"), TYPE_PTR)).toBe("outside");
  expect(count(zone, "ip6.arpa", TYPE_PTR)).toBe("outside");
  zone.remove("h1:web:80");
  expect(count(zone, REVERSE, TYPE_PTR)).toBe("missing");
  expect(zone.soaFor(keyOf(REVERSE)).length).toBeGreaterThan(0);
});

test("a host with an IPv6 address alone is answered with that, both ways", () => {
  const options = { domain: "consul", datacenter: "dc1", ttlSeconds: 0 };
  const zone = buildZone([], [{ name: "h6", address: "2001:db8::7" }], options);
  expect([TYPE_A, TYPE_AAAA].map((type) => count(zone, "h6.node.consul", type))).toEqual([0, 1]);
  const reverse = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
  expect(count(zone, reverse, TYPE_PTR)).toBe(1);
});
