import { expect, test } from "bun:test";
import { renderRuleset } from "./render-ruleset.ts";

const want = { range: "10.2.0.0/16", bridge: "apollo0" };

test("renderRuleset() is one transaction that replaces our table and nothing else", () => {
  const { text, digest } = renderRuleset(want);
  expect(text.replaceAll(digest, "DIGEST")).toBe(`table ip apollo
delete table ip apollo
table ip apollo {
  chain nat {
    type nat hook postrouting priority srcnat - 5; policy accept;
    ip saddr 10.2.0.0/16 ip daddr 10.2.0.0/16 snat to ip saddr comment "apollo DIGEST 1/4"
    ip saddr 10.2.0.0/16 ip daddr != { 10.2.0.0/16, 224.0.0.0/4, 255.255.255.255 } oifname != "apollo0" masquerade comment "apollo DIGEST 2/4"
  }
  chain forward {
    type filter hook forward priority mangle; policy accept;
    ip daddr 10.2.0.0/16 tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu comment "apollo DIGEST 3/4"
    oifname "apollo0" iifname != "apollo0" ip saddr != 10.2.0.0/16 ct state new ct status & dnat == 0 drop comment "apollo DIGEST 4/4"
  }
}
`);
});

test("renderRuleset() has the same digest for the same rules only", () => {
  expect(renderRuleset({ ...want }).digest).toBe(renderRuleset(want).digest);
  expect(renderRuleset({ ...want, range: "10.3.0.0/16" }).digest).not.toBe(renderRuleset(want).digest);
});
