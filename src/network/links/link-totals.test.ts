import { expect, test } from "bun:test";
import type { Peer } from "../../model/host.ts";
import type { HostId } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { parseHostAddress } from "../../model/ip6.ts";
import { LinkTotals } from "./link-totals.ts";
import { renderLinkCounters } from "./render-link-counters.ts";

const AROUND = { range6: "fd12:3456:789a::/64", routed: new Set(["blue"]) };
const NONE = { range6: null, fixed: [], routed: [] };

function peer(number: number, ...blocks: readonly string[]): Peer {
  return { id: `id${number}` as HostId, name: `h${number}`, address: parseIpv4(`192.0.2.${number}`), blocks };
}

function counts(bytes: Readonly<Record<string, number>>): ReadonlyMap<HostAddress, number> {
  return new Map(Object.entries(bytes).map(([address, count]) => [parseHostAddress(address), count]));
}

const none = counts({});

test("LinkTotals adds up all blocks of a peer, in both families, over changes of the rules", () => {
  const totals = new LinkTotals();
  const peers = [peer(2, "10.2.2.0/26", "10.2.8.0/25", "10.2.0.7/32"), peer(3, "10.2.3.0/26")];
  const of = (number: number) => Object.values(totals.of(`id${number}` as HostId));
  const first = { "10.2.2.0": 100, "10.2.8.64": 20, "fd12:3456:789a:0:a02:200::": 3, "10.2.0.0": 999 };
  totals.observe({ sent: counts(first), received: counts({ "10.2.3.0": 7 }) }, peers, AROUND);
  expect([of(2), of(3)]).toEqual([
    [123, 0],
    [0, 7],
  ]);
  // More of the same, then the rules are made anew and begin at zero.
  totals.observe({ sent: counts({ ...first, "10.2.2.0": 150 }), received: none }, peers, AROUND);
  totals.observe({ sent: counts({ "10.2.2.0": 30 }), received: none }, peers, AROUND);
  expect(of(2)).toEqual([203, 0]);
  totals.observe({ sent: none, received: none }, peers.slice(1), AROUND);
  expect([of(2), of(3), totals.all().size]).toEqual([[0, 0], [0, 7], 1]);
});

test("LinkTotals gives fixed addresses and blocks of routed networks to the host that has them", () => {
  const totals = new LinkTotals();
  const of = (number: number) => totals.of(`id${number}` as HostId).sentBytes;
  // Both fixed addresses are of one /26, and the blocks of a segment may be those of any other network.
  const two = {
    ...peer(2, "10.2.2.0/26", "10.2.9.7/32"),
    networks: { blue: ["10.50.0.0/25"], segment: ["10.50.0.128/25"] },
  };
  const three = { ...peer(3, "10.2.3.0/26", "10.2.9.8/32"), networks: { blue: ["10.50.1.0/24"] } };
  totals.observe(
    { sent: counts({ "10.2.9.7": 1, "10.50.0.120": 20, "10.50.0.128": 5000 }), received: none },
    [two, three],
    AROUND,
  );
  expect([of(2), of(3)]).toEqual([21, 0]);
  totals.observe({ sent: counts({ "10.2.9.8": 3, "10.50.1.248": 40 }), received: none }, [two, three], AROUND);
  expect([of(2), of(3)]).toEqual([21, 43]);
  // In IPv6 the network's part comes first, then the IPv4 address; the part alone is nobody's.
  const six = { "fd12:3456:789a:0:0:3eb:a32:100": 500, "fd12:3456:789a:0:0:3eb::": 9000 };
  totals.observe({ sent: counts(six), received: none }, [two, three], AROUND);
  expect([of(2), of(3)]).toEqual([21, 543]);
});

test("renderLinkCounters() counts fixed addresses one by one, and routed networks by their smallest blocks", () => {
  const fixed = [parseIpv4("10.2.9.8"), parseIpv4("10.2.9.7")];
  const routed = [{ range: "10.50.0.0/16", vni: 1003 }];
  const wish = { range: "10.2.0.0/16", range6: AROUND.range6, blockPrefix: 26, inside: ["apollo0"], fixed, routed };
  const { sets, rules } = renderLinkCounters(wish);
  expect(sets.at(-1)).toBe("set links_fixed { type ipv4_addr; elements = { 10.2.9.7, 10.2.9.8 }; }");
  const away = 'oifname != { "apollo0", "lo" } meta l4proto . th dport != { udp . 6783 }';
  expect(rules.leaving).toEqual([
    `ip daddr 10.2.0.0/16 ip daddr != @links_fixed ${away} add @links_sent { ip daddr & 255.255.255.192 counter }`,
    `ip daddr @links_fixed ${away} add @links_sent { ip daddr counter }`,
    `ip daddr 10.50.0.0/16 ${away} add @links_sent { ip daddr & 255.255.255.248 counter }`,
    `ip6 daddr fd12:3456:789a::/64 ${away} add @links_sent6 { ip6 daddr & ffff:ffff:ffff:ffff:ffff:ffff:: counter }`,
    `ip6 daddr fd12:3456:789a::3eb:0:0/96 ${away} add @links_sent6 { ip6 daddr & ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff8 counter }`,
  ]);
  expect(rules.arriving).toHaveLength(5);
});

test("renderLinkCounters() counts what leaves the host and arrives, but no probes", () => {
  const wish = { ...NONE, range: "10.2.0.0/16", blockPrefix: 26, inside: ["apollo0", "apl1000"] };
  expect(renderLinkCounters(wish)).toEqual({
    name: "links",
    sets: ["sent", "received"].map((way) => `set links_${way} { type ipv4_addr; flags dynamic; size 65536; }`),
    chains: {},
    rules: {
      arriving: [
        'ip saddr 10.2.0.0/16 iifname != { "apollo0", "apl1000", "lo" } meta l4proto . th dport != { udp . 6783 } ' +
          "add @links_received { ip saddr & 255.255.255.192 counter }",
      ],
      leaving: [
        'ip daddr 10.2.0.0/16 oifname != { "apollo0", "apl1000", "lo" } meta l4proto . th dport != { udp . 6783 } ' +
          "add @links_sent { ip daddr & 255.255.255.192 counter }",
      ],
    },
  });
  const both = renderLinkCounters({ ...wish, range6: AROUND.range6 });
  expect(both.rules.leaving?.[1]).toEndWith("add @links_sent6 { ip6 daddr & ffff:ffff:ffff:ffff:ffff:ffff:: counter }");
  expect(both.sets).toHaveLength(4);
});
