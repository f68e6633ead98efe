import { expect, test } from "bun:test";
import { type Endpoint, META_NAME_ONLY } from "../../model/endpoint.ts";
import { parseCidr } from "../../model/ip.ts";
import { nameKey } from "./domain-name.ts";
import { TYPE_A, TYPE_PTR } from "./wire-format.ts";
import { type Zone, buildZone } from "./zone.ts";
import { endpointOf } from "../../model/endpoint.fixture.ts";

function endpoint(service: string, address: string, over: Partial<Endpoint> = {}): Endpoint {
  return endpointOf({ id: `h1:${service}:${address}`, service, address, port: 80, container: "box", ...over });
}

const nameOnly = (name: string, address: string): Endpoint =>
  endpoint(name, address, { port: 0, meta: { [META_NAME_ONLY]: "yes" }, container: name });

function zoneOf(endpoints: readonly Endpoint[], containerDomain: string | null = "weave.local"): Zone {
  const range = parseCidr("10.2.0.0/16");
  return buildZone(endpoints, [], { domain: "consul", datacenter: "dc1", ttlSeconds: 0, range, containerDomain });
}

/** "10.2.1.7 10.2.1.8", "nothing", or what the zone says of the name itself. */
function look(zone: Zone, name: string): string {
  const key = nameKey(name);
  if (key === null) throw new Error(`Unexpected name ${name}`);
  const found = zone.find(key);
  if (typeof found === "string") return found;
  const records = found.records.get(TYPE_A) ?? found.records.get(TYPE_PTR);
  if (records === undefined) return "nothing";
  return Array.from({ length: records.count }, (_, index) => {
    const bytes = records.bytes.slice(records.starts[index], records.starts[index + 1]).slice(12);
    return found.records.has(TYPE_A) ? bytes.join(".") : new TextDecoder().decode(bytes).replaceAll(/\p{Cc}/gu, ".");
  }).join(" ");
}

test("a container is found by its name, as one with services and as one that is only named, and by a single label", () => {
  const zone = zoneOf([
    endpoint("web", "10.2.1.7", { health: "critical" }),
    nameOnly("db", "10.2.1.8"),
    nameOnly("db", "10.2.2.8"),
  ]);
  expect(look(zone, "box.weave.local")).toBe("10.2.1.7");
  expect(look(zone, "DB.Weave.Local")).toBe("10.2.1.8 10.2.2.8");
  expect(look(zone, "db")).toBe("10.2.1.8 10.2.2.8");
  expect(look(zone, "db.service.consul")).toBe("missing");
  expect([look(zone, "none.weave.local"), look(zone, "none"), look(zone, "weave.local")]).toEqual([
    "missing",
    "outside",
    "nothing",
  ]);
  expect(look(zone, "8.1.2.10.in-addr.arpa")).toBe(".db.weave.local.");
  zone.follow([endpoint("web", "10.2.1.7")]);
  expect([look(zone, "db.weave.local"), look(zone, "db")]).toEqual(["missing", "outside"]);
});

test("the container domain can be another, or none; a negative answer has its SOA", () => {
  const other = zoneOf([nameOnly("db", "10.2.1.8")], "box.example");
  expect([look(other, "db.box.example"), look(other, "db.weave.local")]).toEqual(["10.2.1.8", "outside"]);
  expect(look(zoneOf([nameOnly("db", "10.2.1.8")], null), "db")).toBe("outside");
  const key = nameKey("no.box.example");
  const owner = key === null ? "" : new TextDecoder().decode(other.soaFor(key).slice(0, 13));
  expect(owner).toBe("\u0003box\u0007example\0");
});
