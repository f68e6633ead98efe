import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Endpoint } from "../model/endpoint.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import { endpointAt } from "./outside.fixture.ts";
import type { FrontWish } from "./plan-fronts.ts";
import { WEIGHT_MAX, planFronts } from "./plan-fronts.ts";
import { renderFronts } from "./render-fronts.ts";

const web = parseNetworkObject("virtual", { name: "web", address: "10.3.0.7" });
const around = {
  range: "10.2.0.0/16",
  virtualRange: "10.3.0.0/16",
  blocks: ["10.2.1.0/24"],
  gateway: parseIpv4("10.2.1.1"),
  bridge: "apollo0",
  bridgeSeen: true,
};

function wish(more: Partial<FrontWish>): FrontWish {
  const config = { virtuals: [web], publications: [] };
  return { config, endpoints: [], hostName: "h1", hostLabels: {}, busyPorts: new Set(), ...more };
}

function shown(fronts: ReturnType<typeof planFronts>["fronts"]): readonly string[] {
  return fronts.map(
    ({ address, port, protocol, backends }) =>
      `${address ?? "host"}:${port}/${protocol} → ${backends.map((one) => `${one.address}:${one.port}`).join(" ")}`,
  );
}

test("planFronts() answers a virtual address on each port that the healthy endpoints have", () => {
  const endpoints = [
    endpointAt("web", "h2 10.2.2.5:8080/tcp"),
    endpointAt("web", "h1 10.2.1.5:8080/tcp"),
    endpointAt("web", "h1 10.2.1.5:9090/udp"),
    endpointAt("web", "h1 10.2.1.6:8080/tcp", { health: "critical" }),
    endpointAt("other", "h1 10.2.1.7:8080/tcp"),
  ];
  expect(shown(planFronts(wish({ endpoints })).fronts)).toEqual([
    "10.3.0.7:8080/tcp → 10.2.1.5:8080 10.2.2.5:8080",
    "10.3.0.7:9090/udp → 10.2.1.5:9090",
  ]);
});

test("planFronts() answers on the one declared port for endpoints with different ones", () => {
  const endpoints = [endpointAt("web", "h2 10.2.2.5:8080/tcp"), endpointAt("web", "h1 10.2.1.5:9090/tcp")];
  const config = { virtuals: [{ ...web, port: 80 }], publications: [] };
  expect(shown(planFronts(wish({ endpoints, config })).fronts)).toEqual([
    "10.3.0.7:80/tcp → 10.2.1.5:9090 10.2.2.5:8080",
  ]);
});

test("planFronts() prefers this host's endpoints for a published port, but not addresses outside that it looks after", () => {
  const [publication] = [parseNetworkObject("publication", { name: "web", service: "web", port: 80 })];
  const config = { virtuals: [], publications: [publication] };
  const far = endpointAt("web", "h2 10.2.2.5:8080/tcp");
  const near = endpointAt("web", "h1 10.2.1.5:8080/tcp");
  const outside = endpointAt("web", "h1 192.0.2.9:8080/tcp", { id: "h1:import:web:192.0.2.9:8080/tcp" });
  expect(shown(planFronts(wish({ config, endpoints: [far, near, outside] })).fronts)).toEqual([
    "host:80/tcp → 10.2.1.5:8080",
  ]);
  expect(shown(planFronts(wish({ config, endpoints: [far, outside] })).fronts)).toEqual([
    "host:80/tcp → 10.2.2.5:8080 192.0.2.9:8080",
  ]);
});

test("planFronts() publishes on hosts with the labels, and leaves a port alone that a program has", () => {
  const publication = parseNetworkObject("publication", {
    name: "web",
    service: "web",
    port: 80,
    hosts: { role: "edge" },
  });
  const config = { virtuals: [], publications: [publication] };
  const endpoints = [endpointAt("web", "h1 10.2.1.5:8080/tcp")];
  const edge = { config, endpoints, hostLabels: { role: "edge", disk: "ssd" } };
  expect(planFronts(wish({ config, endpoints, hostLabels: { role: "core" } })).fronts).toEqual([]);
  expect(planFronts(wish(edge)).fronts).toHaveLength(1);
  const busy = planFronts(wish({ ...edge, busyPorts: new Set(["80/tcp", "80/udp"]) }));
  expect([busy.fronts.length, busy.conditions[0]?.code]).toEqual([0, "publication-port-taken"]);
  expect(planFronts(wish({ ...edge, busyPorts: new Set(["80/udp"]) })).fronts).toHaveLength(1);
});

const anyEndpoint = fc
  .record({
    host: fc.constantFrom("h1", "h2"),
    last: fc.integer({ min: 2, max: 30 }),
    port: fc.constantFrom(80, 81),
    health: fc.constantFrom("passing", "warning", "critical" as const),
    weight: fc.option(fc.oneof(fc.nat(200).map(String), fc.string())),
  })
  .map(({ host, last, port, health, weight }): Endpoint =>
    endpointAt("web", `${host} 10.2.${host.slice(1)}.${last}:${port}/tcp`, {
      health: health as Endpoint["health"],
      meta: weight === null ? {} : { weight },
    }),
  );
const anyEndpoints = fc.uniqueArray(anyEndpoint, { selector: ({ id }) => id, maxLength: 40 });

/** How many of the numbers that a chain draws lead to each endpoint. */
function sharesOf(rule: string): ReadonlyMap<string, number> {
  const single = /dnat ip to ([0-9.]+):(\d+)$/.exec(rule);
  if (single !== null) return new Map([[`${single[1]}:${single[2]}`, 1]]);
  const total = Number(/mod (\d+)/.exec(rule)?.[1]);
  const shares = new Map<string, number>();
  const drawn = new Set<number>();
  for (const [, from = "", to, address, port] of rule.matchAll(/(\d+)(?:-(\d+))? : ([0-9.]+) \. (\d+)/g)) {
    for (let number = Number(from); number <= Number(to ?? from); number++) {
      expect(drawn.has(number)).toBe(false);
      drawn.add(number);
      shares.set(`${address}:${port}`, (shares.get(`${address}:${port}`) ?? 0) + 1);
    }
  }
  expect([...drawn].toSorted((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, number) => number));
  return shares;
}

test("property: the chains lead to every healthy endpoint by its weight, and to no other", () => {
  fc.assert(
    fc.property(anyEndpoints, fc.constantFrom("none", "source" as const), (endpoints, affinity) => {
      const config = { virtuals: [{ ...web, affinity: affinity as "none" | "source" }], publications: [] };
      const part = renderFronts(planFronts(wish({ endpoints, config })).fronts, around);
      for (const port of [80, 81]) {
        const healthy = endpoints.filter((one) => one.health === "passing" && one.port === port);
        const chain = part?.chains[`outside_virtual_web_tcp_${port}`]?.[0];
        expect(chain === undefined).toBe(healthy.length === 0);
        const shares = sharesOf(chain ?? "");
        expect([...shares.keys()].toSorted()).toEqual(healthy.map((one) => `${one.address}:${port}`).toSorted());
        for (const one of healthy) {
          const weight = /^\d{1,3}$/.test(one.meta["weight"] ?? "") ? Number(one.meta["weight"]) : 1;
          const share = healthy.length === 1 ? 1 : Math.min(Math.max(weight, 1), WEIGHT_MAX);
          expect(shares.get(`${one.address}:${port}`)).toBe(share);
        }
      }
    }),
  );
});

test("property: the order of what comes in changes nothing", () => {
  fc.assert(
    fc.property(anyEndpoints, (endpoints) => {
      const one = renderFronts(planFronts(wish({ endpoints })).fronts, around);
      const other = renderFronts(planFronts(wish({ endpoints: endpoints.toReversed() })).fronts, around);
      expect(JSON.stringify(one)).toBe(JSON.stringify(other));
    }),
  );
});

test("renderFronts() refuses what nobody serves, and is nothing when nothing is declared", () => {
  const part = renderFronts([], around);
  expect(part?.rules.prerouting).toEqual([]);
  expect(part?.rules.forward).toEqual(["ip daddr 10.3.0.0/16 jump outside_refuse"]);
  expect(renderFronts([], { ...around, virtualRange: null })).toBeNull();
});
