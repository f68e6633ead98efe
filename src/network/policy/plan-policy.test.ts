import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Holder } from "../../model/holder.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { cidrContains, formatIpv4, parseCidr } from "../../model/ip.ts";
import type { PolicyRule, Selector } from "../../model/network-config.ts";
import { parseNetworkObject } from "../../model/network-config.ts";
import type { Flow } from "./choose-verdict.ts";
import { chooseVerdict } from "./choose-verdict.ts";
import type { PolicyInput } from "./plan-policy.ts";
import { planPolicy, planSources } from "./plan-policy.ts";
import { holder, input } from "./policy.fixture.ts";

const rule = (value: object): PolicyRule => parseNetworkObject("policy", value);

test("planPolicy() leaves an open network without rules alone", () => {
  expect(planPolicy(input({})).groups).toEqual([]);
});

test("planPolicy() closes what a rule means to all others, and nothing else", () => {
  const rules = [rule({ name: "db", from: [{ app: "web" }], to: [{ service: "db" }], ports: [tcp(5432)] })];
  const { groups } = planPolicy(input({ rules }));
  expect(groups.map((group) => ({ ...group, id: "any" }))).toEqual([
    {
      id: "any",
      network: "apollo",
      bridge: "apollo0",
      rules: ["db"],
      sources: [{ first: 0x0a_02_01_05, last: 0x0a_02_01_05, ports: [tcp(5432)] }],
      addresses: ["10.2.1.6" as Ipv4],
    },
  ]);
});

test("planPolicy() closes a whole network by default, and opens it by rules", () => {
  const networks = [{ name: "apollo", bridge: "apollo0", policy: "deny" as const }];
  const closed = planPolicy(input({ networks }));
  expect(closed.groups.map(({ rules, sources, addresses }) => ({ rules, sources, addresses }))).toEqual([
    { rules: [], sources: [], addresses: ["10.2.1.5", "10.2.1.6"] as Ipv4[] },
  ]);
  const opened = planPolicy(input({ networks, rules: [rule({ name: "all" })] }));
  expect(opened.groups.map(({ sources }) => sources)).toEqual([[{ first: 0, last: 0xff_ff_ff_ff, ports: "all" }]]);
});

test("planPolicy() names a group by its rules, so that its counter outlives changes of them", () => {
  const group = (ports: readonly object[]): string | undefined =>
    planPolicy(input({ rules: [rule({ name: "db", to: [{ app: "/db" }], ports })] })).groups[0]?.id;
  expect(group([tcp(1)])).toBe(group([tcp(2)]));
});

test("planSources() cuts where rights change and joins what is the same", () => {
  expect(
    planSources([
      { spans: [{ first: 10, last: 19 }], ports: [tcp(80)] },
      { spans: [{ first: 15, last: 15 }], ports: [tcp(81)] },
      { spans: [{ first: 20, last: 29 }], ports: [tcp(80)] },
      { spans: [{ first: 25, last: 40 }], ports: "all" },
    ]),
  ).toEqual([
    { first: 10, last: 14, ports: [tcp(80)] },
    { first: 15, last: 15, ports: [{ protocol: "tcp", from: 80, to: 81 }] },
    { first: 16, last: 24, ports: [tcp(80)] },
    { first: 25, last: 40, ports: "all" },
  ]);
});

function tcp(port: number): { protocol: "tcp"; from: number; to: number } {
  return { protocol: "tcp", from: port, to: port };
}

/** What the rules say, read word by word, packet by packet. */
function reference({ networks, rules, holders, hostAddresses, host }: PolicyInput, flow: Flow): boolean {
  const means = (selectors: readonly Selector[], address: Ipv4): boolean =>
    selectors.some((selector) => {
      if (selector.cidr !== undefined && !cidrContains(parseCidr(selector.cidr), address)) return false;
      if (selector.host !== undefined && !hostAddresses.includes(address)) return false;
      const { app, service, network, labels } = selector;
      if (app === undefined && service === undefined && network === undefined && labels === undefined) return true;
      if (selector.host !== undefined) return false;
      return holders.some(
        (one) =>
          one.address === address &&
          (app === undefined || one.app === app) &&
          (service === undefined || one.services.includes(service)) &&
          (network === undefined || one.network === network) &&
          Object.entries(labels ?? {}).every(([key, value]) => one.labels[key] === value),
      );
    });
  const target = holders.find((one) => one.address === flow.destination && one.host === host);
  const network = networks.find(({ name }) => name === target?.network);
  if (target === undefined || network === undefined) return true;
  const closing = rules.filter(
    (one) => one.network === network.name && (one.to.length === 0 || means(one.to, target.address)),
  );
  if (closing.length === 0) return network.policy === "open";
  return closing.some(
    ({ from, ports }) =>
      (from.length === 0 || means(from, flow.source)) &&
      (ports.length === 0 ||
        ports.some((one) => one.protocol === flow.protocol && one.from <= flow.port && flow.port <= one.to)),
  );
}

const addresses = fc.integer({ min: 0, max: 11 }).map((low) => formatIpv4(0x0a_02_01_00 + low));
const cidrs = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.constantFrom(0, 28, 29, 30, 31, 32)).map(([low, prefix]) => {
  const size = 2 ** (32 - prefix);
  const value = 0x0a_02_01_00 + low;
  return `${formatIpv4(value - (value % size))}/${prefix}`;
});
const apps = fc.constantFrom("/a", "/b", "/c");
const services = fc.constantFrom("x", "y");
const networkNames = fc.constantFrom("apollo", "green");
const selectors: fc.Arbitrary<Selector> = fc
  .record(
    {
      app: apps,
      service: services,
      network: networkNames,
      labels: fc.record({ tier: fc.constantFrom("1", "2") }),
      cidr: cidrs,
      host: fc.constant("any" as const),
    },
    { requiredKeys: [] },
  )
  .filter((selector) => Object.keys(selector).length > 0);
const protocols = fc.constantFrom("tcp" as const, "udp" as const);
const portRanges = fc
  .tuple(protocols, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 3 }))
  .map(([protocol, from, more]) => ({ protocol, from, to: from + more }));
const inputs: fc.Arbitrary<PolicyInput> = fc.record({
  networks: fc
    .tuple(fc.constantFrom("open" as const, "deny" as const), fc.constantFrom("open" as const, "deny" as const))
    .map(([first, second]) => [
      { name: "apollo", bridge: "apollo0", policy: first },
      { name: "green", bridge: "green0", policy: second },
    ]),
  rules: fc
    .array(
      fc.record({
        network: networkNames,
        from: fc.array(selectors, { maxLength: 3 }),
        to: fc.array(selectors, { maxLength: 2 }),
        ports: fc.array(portRanges, { maxLength: 3 }),
      }),
      { maxLength: 6 },
    )
    .map((rules) => rules.map((each, index) => ({ name: `r${index}`, ...each }))),
  holders: fc.uniqueArray(
    fc
      .record({
        address: addresses,
        network: networkNames,
        host: fc.constantFrom("h1", "h2"),
        app: fc.option(apps),
        services: fc.uniqueArray(services, { maxLength: 2 }),
        labels: fc.record({ tier: fc.constantFrom("1", "2") }, { requiredKeys: [] }),
      })
      .map((over): Holder => holder(over)),
    { maxLength: 8, selector: ({ address }) => address },
  ),
  hostAddresses: fc.uniqueArray(
    fc.integer({ min: 12, max: 15 }).map((low) => formatIpv4(0x0a_02_01_00 + low)),
    {
      maxLength: 2,
    },
  ),
  host: fc.constant("h1"),
});
const flows: fc.Arbitrary<Flow> = fc.record({
  source: fc.integer({ min: 0, max: 17 }).map((low) => formatIpv4(0x0a_02_01_00 + low)),
  destination: addresses,
  protocol: fc.constantFrom("tcp" as const, "udp" as const, "other" as const),
  port: fc.integer({ min: 0, max: 10 }),
});

test("planPolicy() decides as its rules read, for any rules and any packet", () => {
  fc.assert(
    fc.property(inputs, fc.array(flows, { minLength: 10, maxLength: 30 }), (given, packets) => {
      const plan = planPolicy(given);
      for (const flow of packets)
        expect([flow, chooseVerdict(plan, flow).allowed]).toEqual([flow, reference(given, flow)]);
    }),
    { numRuns: 300 },
  );
});

test("planPolicy() does not depend on the order of what it is given", () => {
  fc.assert(
    fc.property(inputs, (given) => {
      const turned = { ...given, rules: given.rules.toReversed(), holders: given.holders.toReversed() };
      expect(planPolicy(turned)).toEqual(planPolicy(given));
    }),
  );
});
