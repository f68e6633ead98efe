import { expect, test } from "bun:test";
import type { RulesetPart } from "./render-ruleset.ts";
import { renderRuleset } from "./render-ruleset.ts";

const want = { range: "10.2.0.0/16", bridge: "apollo0", parts: [] };

test("renderRuleset() is one transaction that replaces our table and nothing else", () => {
  const { text, digest } = renderRuleset(want);
  expect(text.replaceAll(digest, "DIGEST")).toBe(`table inet apollo
delete table inet apollo
table inet apollo {
  chain forward {
    type filter hook forward priority mangle; policy accept;
    ip daddr 10.2.0.0/16 tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu comment "apollo DIGEST 1/4"
    oifname "apollo0" iifname != "apollo0" ip saddr != 10.2.0.0/16 ct state new ct status & dnat == 0 drop comment "apollo DIGEST 2/4"
  }
  chain postrouting {
    type nat hook postrouting priority srcnat - 5; policy accept;
    ip saddr 10.2.0.0/16 ip daddr 10.2.0.0/16 snat ip to ip saddr comment "apollo DIGEST 3/4"
    ip saddr 10.2.0.0/16 ip daddr != { 10.2.0.0/16, 224.0.0.0/4, 255.255.255.255 } oifname != "apollo0" masquerade comment "apollo DIGEST 4/4"
  }
}
`);
});

test("renderRuleset() puts the parts' rules before the base rules and counts them all", () => {
  const part = (name: string): RulesetPart => ({
    name,
    sets: [`set ${name}_all { type ipv4_addr; elements = { 10.2.1.5 } }`],
    chains: { [`${name}_check`]: ["counter drop"] },
    rules: { forward: [`ip daddr @${name}_all jump ${name}_check`] },
  });
  const { text, digest } = renderRuleset({ ...want, parts: [part("policy"), part("expose")] });
  const rules = text.split("\n").filter((line) => line.includes(digest));
  expect(rules.map((line) => line.trim().split(" comment ")[0]?.slice(0, 36))).toEqual([
    "counter drop",
    "counter drop",
    "ip daddr @expose_all jump expose_che",
    "ip daddr @policy_all jump policy_che",
    "ip daddr 10.2.0.0/16 tcp flags & (sy",
    'oifname "apollo0" iifname != "apollo',
    "ip saddr 10.2.0.0/16 ip daddr 10.2.0",
    "ip saddr 10.2.0.0/16 ip daddr != { 1",
  ]);
  expect(rules.at(-1)).toEndWith('8/8"');
  expect(text).toContain("  set policy_all {");
});

test("renderRuleset() has the same digest for the same rules only", () => {
  expect(renderRuleset({ ...want }).digest).toBe(renderRuleset(want).digest);
  expect(renderRuleset({ ...want, range: "10.3.0.0/16" }).digest).not.toBe(renderRuleset(want).digest);
});

test("renderRuleset() adds the table of the bridges when a part needs it, in the same transaction and count", () => {
  const part: RulesetPart = {
    name: "source",
    sets: [],
    chains: {},
    rules: {},
    bridge: {
      sets: ["set source_a { type ifname; }"],
      chains: { source_b: ["drop"] },
      rules: { prerouting: ["jump source_b"] },
    },
  };
  const { text, digest } = renderRuleset({ ...want, parts: [part] });
  expect(text.slice(text.indexOf("table bridge")).replaceAll(digest, "DIGEST")).toBe(`table bridge apollo
delete table bridge apollo
table bridge apollo {
  set source_a { type ifname; }
  chain source_b {
    drop comment "apollo DIGEST 5/6"
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    jump source_b comment "apollo DIGEST 6/6"
  }
}
`);
  const other = { ...part, bridge: { sets: [], chains: {}, rules: { prerouting: ["drop"] } } };
  expect(renderRuleset({ ...want, parts: [other] }).digest).not.toBe(digest);
});
