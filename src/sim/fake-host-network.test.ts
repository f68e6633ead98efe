import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import { FakeHostNetwork } from "./fake-host-network.ts";
import { hostNetworkContract } from "./host-network.contract.ts";
import { network6Contract } from "./network6.contract.ts";

const options = { uplinks: [{ name: "eth0", address: parseIpv4("192.0.2.1"), prefix: 24 }] };
const network = new FakeHostNetwork({ ...options, engineUp: false });
hostNetworkContract("FakeHostNetwork", () => ({
  network,
  setLinkDown: async (name) => network.disturb({ kind: "set-link-down", name }),
}));

const dual = new FakeHostNetwork({ ...options, engineUp: false, ipv6: true });
network6Contract("FakeHostNetwork", () => ({
  network: dual,
  setLinkDown: async (name) => dual.disturb({ kind: "set-link-down", name }),
}));

test("FakeHostNetwork allows the range once, and only while the engine has its chain", async () => {
  const host = new FakeHostNetwork(options);
  const allow = { kind: "allow-range", range: "10.2.0.0/16" } as const;
  await host.apply(allow);
  expect(String(await host.apply(allow).catch((error: unknown) => error))).toContain("the rule is there already");
  host.disturb({ kind: "set-engine", up: false });
  expect(String(await host.apply(allow).catch((error: unknown) => error))).toContain("No chain/target/match");
});

test("FakeHostNetwork tells watchers of every change until they stop", async () => {
  const host = new FakeHostNetwork(options);
  let changes = 0;
  const stop = new AbortController();
  const watching = host.watch(() => changes++, stop.signal);
  await host.apply({ kind: "set-sysctl", key: "net/ipv4/ip_forward", value: "1" });
  host.disturb({ kind: "flush-ruleset" });
  stop.abort();
  await watching;
  host.disturb({ kind: "flush-ruleset" });
  expect(changes).toBe(2);
});
