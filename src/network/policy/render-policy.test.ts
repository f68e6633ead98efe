import { expect, test } from "bun:test";
import type { PolicyGroup } from "./plan-policy.ts";
import { refusalCounter, renderPolicy } from "./render-policy.ts";
import { parseIpv4 } from "../../model/ip.ts";

const GROUP: PolicyGroup = {
  id: "ab12",
  network: "apollo",
  bridge: "apollo0",
  rules: ["db"],
  sources: [],
  addresses: [parseIpv4("10.2.1.6"), parseIpv4("10.2.1.7")],
};
const LOOK = 'ct state != { established, related } oifname "apollo0" ip daddr vmap @policy_to0';
const REFUSE = [
  "add @policy_refused { ip saddr . ip daddr . meta l4proto . th dport }",
  `counter name ${refusalCounter("ab12")} drop`,
];

test("renderPolicy() adds nothing where nothing is closed", () => {
  expect(renderPolicy({ groups: [] })).toBeNull();
});

test("renderPolicy() looks new connections up by destination, those of root on the host left out", () => {
  const part = renderPolicy({ groups: [GROUP] });
  expect(part?.rules).toEqual({ forward: [LOOK], egress: [`meta skuid != 0 ${LOOK}`] });
  expect(part?.sets.at(-1)).toBe(
    "map policy_to0 { type ipv4_addr : verdict; elements = { 10.2.1.6 : jump policy_ab12, 10.2.1.7 : jump policy_ab12 }; }",
  );
  expect(part?.chains).toEqual({ policy_ab12: REFUSE });
});

test("renderPolicy() looks up by source: a hash of addresses, a tree of spans, and no look-up for everyone", () => {
  const web = [{ protocol: "tcp" as const, from: 80, to: 80 }];
  const points = renderPolicy({
    groups: [{ ...GROUP, sources: [{ first: 0x0a_02_01_05, last: 0x0a_02_01_05, ports: web }] }],
  });
  expect(points?.sets[2]).toBe(
    "map policy_ab12_from { type ipv4_addr : verdict; elements = { 10.2.1.5 : goto policy_ab12_0 }; }",
  );
  expect(points?.chains["policy_ab12_0"]).toEqual(["meta l4proto . th dport { tcp . 80 } return", ...REFUSE]);
  const spans = renderPolicy({
    groups: [{ ...GROUP, sources: [{ first: 0x0a_02_01_00, last: 0x0a_02_01_ff, ports: "all" }] }],
  });
  expect(spans?.sets[2]).toContain("flags interval; elements = { 10.2.1.0-10.2.1.255 : return }");
  const anyone = renderPolicy({ groups: [{ ...GROUP, sources: [{ first: 0, last: 0xff_ff_ff_ff, ports: web }] }] });
  expect(anyone?.chains["policy_ab12"]).toEqual(["goto policy_ab12_0"]);
});
