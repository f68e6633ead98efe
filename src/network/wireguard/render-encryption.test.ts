import { expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import { renderEncryption } from "./render-encryption.ts";

const want = {
  range: "10.2.0.0/16",
  inside: ["apollo0"],
  sealed: true,
  used: true,
  probes: [parseIpv4("10.2.2.0"), parseIpv4("10.2.1.0")],
  tunnelPort: 6784,
};
const CLAMP = 'oifname "apollo-wg0" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu';

test("renderEncryption() lets the range leave and arrive by inside devices alone, and no VXLAN out", () => {
  expect(renderEncryption(want)).toEqual({
    name: "encryption",
    sets: [
      "set encryption_probes { type ipv4_addr; elements = { 10.2.1.0, 10.2.2.0 } }",
      "counter encryption_leaving { }",
      "counter encryption_arriving { }",
    ],
    chains: {},
    rules: {
      arriving: [
        "ip saddr @encryption_probes ip daddr @encryption_probes udp sport 6785 udp dport 6785 accept",
        'ip saddr 10.2.0.0/16 iifname != { "apollo0", "apollo-wg0", "lo" } counter name encryption_arriving drop',
        'udp dport 6784 iifname != { "apollo0", "apollo-wg0", "lo" } counter name encryption_arriving drop',
      ],
      forward: [CLAMP],
      leaving: [
        "ip saddr @encryption_probes ip daddr @encryption_probes udp sport 6785 udp dport 6785 accept",
        'ip daddr 10.2.0.0/16 oifname != { "apollo0", "apollo-wg0", "lo" } counter name encryption_leaving drop',
        'udp dport 6784 oifname != { "apollo0", "apollo-wg0", "lo" } counter name encryption_leaving drop',
      ],
    },
  });
});

test("renderEncryption() only fits segments where encryption is not required, and says nothing where nothing is encrypted", () => {
  expect(renderEncryption({ ...want, sealed: false })?.rules).toEqual({ forward: [CLAMP] });
  expect(renderEncryption({ ...want, sealed: false, used: false })).toBeNull();
  expect(renderEncryption({ ...want, used: false })?.rules.forward).toEqual([]);
});
