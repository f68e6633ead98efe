import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Holder } from "../../model/holder.ts";
import { formatIpv4, ipv4ToNumber, parseIpv4 } from "../../model/ip.ts";
import type { PolicyRule } from "../../model/network-config.ts";
import { parseNetworkObject } from "../../model/network-config.ts";
import { address6Of, host6Of } from "../address6.ts";
import { findSpan, planPolicy, portsKey } from "./plan-policy.ts";
import { planPolicy6 } from "./plan-policy6.ts";
import { holder, input } from "./policy.fixture.ts";
import { joinParts, renderPolicy6 } from "./render-policy6.ts";
import { renderPolicy } from "./render-policy.ts";

const HOST6 = host6Of("fd12:3456:789a::/64", parseIpv4("10.2.1.1"));
const six = (address: string): ReturnType<typeof address6Of> => address6Of(HOST6, parseIpv4(address));

function dual(address: string, over: Partial<Holder> = {}): Holder {
  return holder({ address: parseIpv4(address), address6: six(address), ...over });
}

function pairsOf(holders: readonly Holder[]): Parameters<typeof planPolicy6>[1] {
  return holders.flatMap(({ address, address6 }) => (address6 === undefined ? [] : [{ address, address6 }]));
}

const rule = (value: object): PolicyRule => parseNetworkObject("policy", value);

test("a rule holds for the IPv6 addresses of those that it means, and is closed to all others", () => {
  const holders = [
    dual("10.2.1.5", { app: "/web" }),
    dual("10.2.1.6", { app: "/db" }),
    holder({ address: parseIpv4("10.2.1.7"), app: "/web" }),
  ];
  const ports = [{ protocol: "tcp", from: 5432, to: 5432 }];
  const rules = [rule({ name: "db", from: [{ app: "/web" }], to: [{ app: "/db" }], ports })];
  const plan = planPolicy(input({ holders, rules }));
  const groups = planPolicy6(plan, pairsOf(holders));
  expect(groups.map(({ addresses, sources, rest }) => ({ addresses, sources, rest }))).toEqual([
    {
      addresses: [six("10.2.1.6")],
      sources: [{ address: six("10.2.1.5"), ports: plan.groups[0]?.sources[0]?.ports ?? "all" }],
      rest: null,
    },
  ]);
  const part = renderPolicy6(groups);
  const id = groups[0]?.id ?? "";
  expect(part.sets.slice(1)).toEqual([
    `map policy6_${id}_from { type ipv6_addr : verdict; elements = { ${six("10.2.1.5")} : goto policy6_${id}_0 }; }`,
    `map policy6_to0 { type ipv6_addr : verdict; elements = { ${six("10.2.1.6")} : jump policy6_${id} }; }`,
  ]);
  const four = renderPolicy(plan);
  const both = four === null ? null : joinParts(four, part);
  expect(both?.rules.forward?.length).toBe(2);
  expect(Object.keys(both?.chains ?? {}).toSorted()).toEqual(
    [`policy6_${id}`, `policy6_${id}_0`, `policy_${id}`, `policy_${id}_0`].toSorted(),
  );
});

test("containers without IPv6 make no groups, and no groups no rules", () => {
  const holders = [holder({ address: parseIpv4("10.2.1.6"), app: "/db" })];
  const plan = planPolicy(input({ holders, rules: [rule({ name: "db", from: [], to: [{ app: "/db" }], ports: [] })] }));
  expect(plan.groups.length).toBe(1);
  expect(renderPolicy6(planPolicy6(plan, pairsOf(holders)))).toEqual({ sets: [], chains: {}, rules: {} });
});

test("whoever asks by IPv6 has the rights of the IPv4 address beside it", () => {
  const apps = ["/web", "/db", "/eve"] as const;
  const app = fc.constantFrom(...apps);
  const selector = fc.oneof(
    app.map((one) => ({ app: one })),
    fc.constant({ cidr: "10.2.1.0/29" }),
  );
  const made = fc.record({
    from: fc.array(selector, { maxLength: 2 }),
    to: fc.array(
      app.map((one) => ({ app: one })),
      { minLength: 1, maxLength: 2 },
    ),
    ports: fc.constantFrom([], [{ protocol: "tcp", from: 80, to: 90 }], [{ protocol: "udp", from: 53, to: 53 }]),
  });
  fc.assert(
    fc.property(fc.array(made, { maxLength: 4 }), fc.array(app, { minLength: 1, maxLength: 12 }), (list, owners) => {
      const holders = owners.map((one, index) =>
        dual(formatIpv4(ipv4ToNumber(parseIpv4("10.2.1.2")) + index), { app: one }),
      );
      const rules = list.map((each, index) => rule({ name: `r${index}`, ...each }));
      const plan = planPolicy(input({ holders, rules }));
      const groups = planPolicy6(plan, pairsOf(holders));
      expect(groups.length).toBe(plan.groups.length);
      for (const [index, group] of plan.groups.entries()) {
        for (const { address, address6 } of holders) {
          const rights = findSpan(group.sources, ipv4ToNumber(address))?.ports ?? null;
          const other = groups[index];
          const rights6 = other?.sources.find((source) => source.address === address6)?.ports ?? other?.rest ?? null;
          expect(rights6 === null ? null : portsKey(rights6)).toBe(rights === null ? null : portsKey(rights));
        }
      }
    }),
  );
});
