import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Endpoint } from "../model/endpoint.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import { virtual6Of } from "./address6.ts";
import { endpointAt } from "./outside.fixture.ts";
import type { FrontWish } from "./plan-fronts.ts";
import { WEIGHT_MAX, planFronts } from "./plan-fronts.ts";
import { renderFronts, renderFronts6 } from "./render-fronts.ts";

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

const RANGE6 = "fd12:3456:789a::/64";
const virtual6 = virtual6Of(RANGE6, "10.3.0.0/16");
const around6 = { range6: RANGE6, virtual6, gateway: parseIpv4("10.2.1.1"), bridge: "apollo0", bridgeSeen: true };
const six = (host: number, last: number) => ({
  address6: parseIpv6(`fd12:3456:789a:0:a02:${host}00:a02:${host}0${last}`),
});

test("planFronts() answers by IPv6 as well, where endpoints have such addresses, and mixes no families", () => {
  const endpoints = [
    endpointAt("web", "h1 10.2.1.5:8080/tcp", six(1, 5)),
    endpointAt("web", "h2 10.2.2.5:8080/tcp"),
    { ...endpointAt("web", "h1 192.0.2.9:8080/tcp"), id: "h1:import:web:x", address: "2001:db8::9" },
  ];
  const publication = parseNetworkObject("publication", { name: "web", service: "web", port: 80 });
  const config = { virtuals: [web], publications: [publication] };
  const { fronts } = planFronts(wish({ endpoints, config, virtual6, hostName: "h2" }));
  expect(shown(fronts.filter(({ family }) => family === 4))).toEqual([
    "host:80/tcp → 10.2.2.5:8080",
    "10.3.0.7:8080/tcp → 10.2.1.5:8080 10.2.2.5:8080",
  ]);
  // The one endpoint of the host itself has no IPv6 address, so it is not the one that is preferred.
  expect(shown(fronts.filter(({ family }) => family === 6))).toEqual([
    "host:80/tcp → 2001:db8::9:8080 fd12:3456:789a:0:a02:100:a02:105:8080",
    "fd12:3456:789a:0:a03:0:a03:7:8080/tcp → 2001:db8::9:8080 fd12:3456:789a:0:a02:100:a02:105:8080",
  ]);
  expect(planFronts(wish({ endpoints, config })).fronts.every(({ family }) => family === 4)).toBe(true);
});

test("renderFronts6() has the same rules in IPv6, in a part of their own", () => {
  const endpoints = [
    endpointAt("web", "h1 10.2.1.5:8080/tcp", six(1, 5)),
    endpointAt("web", "h2 10.2.2.5:8080/tcp", six(2, 5)),
  ];
  const publication = parseNetworkObject("publication", { name: "web", service: "web", port: 80 });
  const config = { virtuals: [{ ...web, affinity: "source" as const }], publications: [publication] };
  const { fronts } = planFronts(wish({ endpoints, config, virtual6 }));
  const part = renderFronts6(fronts, around6);
  expect(part?.name).toBe("outside6");
  expect(part?.chains["outside6_virtual_web_tcp_8080"]).toEqual([
    "meta l4proto tcp ct mark set ct mark or 134217728 dnat ip6 to jhash ip6 saddr mod 2 map " +
      "{ 0 : fd12:3456:789a:0:a02:100:a02:105 . 8080, 1 : fd12:3456:789a:0:a02:200:a02:205 . 8080 }",
  ]);
  expect(part?.chains["outside6_published_web_tcp_80"]?.[0]).toEndWith(
    "dnat ip6 to [fd12:3456:789a:0:a02:100:a02:105]:8080",
  );
  expect(part?.rules.prerouting).toEqual([
    "ip6 daddr . meta l4proto . th dport vmap { fd12:3456:789a:0:a03:0:a03:7 . tcp . 8080 : goto outside6_virtual_web_tcp_8080 }",
    "ip6 daddr != { ::1, fd12:3456:789a::/64 } fib daddr type local meta l4proto . th dport vmap { tcp . 80 : goto outside6_published_web_tcp_80 }",
  ]);
  expect(part?.rules.forward).toEqual(["ip6 daddr fd12:3456:789a:0:a03::/96 jump outside6_refuse"]);
  expect(part?.rules.postrouting?.[0]).toContain(
    "ip6 saddr . ip6 daddr { fd12:3456:789a:0:a02:100:a02:105 . fd12:3456:789a:0:a02:100:a02:105 } " +
      "snat ip6 to fd12:3456:789a:0:a02:100:a02:101",
  );
  // Neither part has anything of the other family.
  expect(JSON.stringify(renderFronts(fronts, around))).not.toContain("ip6");
  expect(renderFronts6([], { ...around6, virtual6: null })).toBeNull();
});
