import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import type { EngineNetwork } from "../platform/ports/engine.ts";
import { gateway6Of, host6Of } from "./address6.ts";
import { engineNetworkSpec, planEngineNetwork } from "./plan-engine-network.ts";

const want = {
  range: "10.2.0.0/16",
  block: "10.2.3.0/24",
  gateway: parseIpv4("10.2.3.1"),
  mtu: 1500,
  apiVersion: "1.41",
};
const spec = engineNetworkSpec(want);
const network: EngineNetwork = { id: "n1", driver: "bridge", containers: {}, ...spec };
const attached = { containers: { c1: parseIpv4("10.2.3.7") } };
const daemonDefault = { ...network, name: "bridge", ipRange: null };

test("engineNetworkSpec() reserves both ends of the block and leaves masquerading to us", () => {
  expect(spec).toEqual({
    name: "apollo",
    subnet: "10.2.0.0/16",
    ipRange: "10.2.3.0/25",
    gateway: parseIpv4("10.2.3.1"),
    reserved: { network: parseIpv4("10.2.3.0"), broadcast: parseIpv4("10.2.3.255") },
    options: {
      "com.docker.network.bridge.name": "apollo0",
      "com.docker.network.bridge.enable_ip_masquerade": "false",
      "com.docker.network.driver.mtu": "1500",
    },
  });
});

test("engineNetworkSpec() adds the host's part of the IPv6 range, and leaves derived addresses out of the engine's choice", () => {
  const host6 = host6Of("fd12:3456:789a::/64", want.gateway);
  const gateway = gateway6Of("fd12:3456:789a::/64", want.gateway);
  const dual = engineNetworkSpec({ ...want, six: { host6, gateway } });
  expect(dual.ip6).toEqual({
    subnet: "fd12:3456:789a:0:a02:300::/96",
    ipRange: "fd12:3456:789a:0:a02:300::/112",
    gateway,
  });
  const current: EngineNetwork = { ...network, ip6: { subnet: dual.ip6?.subnet ?? "", gateway } };
  expect(planEngineNetwork(dual, [current])).toMatchObject({ kind: "ready", ip6: true, fault: null });
  // One from before: made anew when it is empty, else its containers go on without.
  expect(planEngineNetwork(dual, [network])).toEqual({ kind: "recreate", spec: dual });
  const kept = planEngineNetwork(dual, [{ ...network, ...attached }]);
  expect(kept).toMatchObject({ kind: "ready", fixedAddresses: true, ip6: false });
  expect(kept).toMatchObject({ fault: "IPv6 subnet none instead of fd12:3456:789a:0:a02:300::/96" });
  expect(planEngineNetwork(spec, [{ ...current, ...attached }])).toMatchObject({ kind: "ready", ip6: false });
});

test("engineNetworkSpec() asks engines from 28 on not to drop other hosts' packets", () => {
  const mode = (apiVersion: string): string | undefined =>
    engineNetworkSpec({ ...want, apiVersion }).options["com.docker.network.bridge.gateway_mode_ipv4"];
  expect([mode("1.41"), mode("1.47"), mode("1.48"), mode("1.52")]).toEqual([
    undefined,
    undefined,
    "nat-unprotected",
    "nat-unprotected",
  ]);
});

const ready = { kind: "ready", name: "apollo", fixedAddresses: true, fault: null };
const cases: readonly (readonly [string, readonly EngineNetwork[], object])[] = [
  ["creates what is missing", [], { kind: "create", spec }],
  ["uses what fits", [{ ...network, ...attached }], ready],
  [
    "does not mind another MTU",
    [{ ...network, options: { ...spec.options, "com.docker.network.driver.mtu": "9000" } }],
    ready,
  ],
  ["recreates an unused one of another block", [{ ...network, ipRange: "10.2.9.0/24" }], { kind: "recreate", spec }],
  [
    "keeps one that hands out the whole block, as former versions made it",
    [{ ...network, ipRange: "10.2.3.0/24" }],
    { ...ready, ipRange: "10.2.3.0/24" },
  ],
  ["recreates one that masquerades", [{ ...network, options: {} }], { kind: "recreate", spec }],
  [
    "leaves a wrong one with containers alone and says so",
    [{ ...network, ...attached, ipRange: "10.2.9.0/24" }],
    {
      kind: "blocked",
      why: expect.stringContaining("address range 10.2.9.0/24 instead of 10.2.3.0/25, and 1 containers"),
    },
  ],
  [
    "takes a daemon's default bridge on apollo0",
    [daemonDefault],
    { kind: "ready", name: "bridge", fixedAddresses: false, fault: null },
  ],
  [
    "does not share the bridge with another network",
    [{ ...network, name: "shop" }],
    { kind: "blocked", why: 'engine network "shop" uses bridge apollo0' },
  ],
];
for (const [title, networks, expected] of cases) {
  test(`planEngineNetwork() ${title}`, () => {
    expect(planEngineNetwork(spec, networks, want.block)).toMatchObject(expected);
  });
}

test("planEngineNetwork() goes on with a network whose engine was upgraded under its containers", () => {
  const newer = engineNetworkSpec({ ...want, apiVersion: "1.48" });
  const plan = planEngineNetwork(newer, [{ ...network, ...attached }]);
  expect(plan).toMatchObject({ kind: "ready", fault: "gateway mode unset instead of nat-unprotected" });
  expect(planEngineNetwork(newer, [network]).kind).toBe("recreate");
});
