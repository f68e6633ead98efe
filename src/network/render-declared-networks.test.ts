import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { renderDeclaredNetworks } from "./render-declared-networks.ts";

const blue = { name: "blue", vni: 7, range: "10.40.0.0/16", layer2: false, internal: false } as DeclaredNetwork;
const want = { networks: [blue], range: "10.2.0.0/16", range6: "fd12:3456:789a::/64", hosts: [parseIpv4("10.2.1.1")] };

test("renderDeclaredNetworks() leaves services' own addresses to those who answer for them, where nothing serves as well", () => {
  const forward = (virtual6: string | null): readonly string[] =>
    renderDeclaredNetworks({ ...want, virtual6 })?.rules.forward ?? [];
  const closing = (rules: readonly string[]): readonly string[] =>
    rules.filter((rule) => rule.includes("ip6 daddr fd12:3456:789a::/64"));
  expect(closing(forward(null))).toHaveLength(1);
  expect(closing(forward("fd12:3456:789a:0:a03::/96"))).toHaveLength(1);
  expect(closing(forward("fd12:3456:789a:0:a03::/96"))[0]).toContain("ip6 daddr != fd12:3456:789a:0:a03::/96");
});
