import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { AppVersion } from "../model/app.ts";
import type { Host } from "../model/host.ts";
import type { AppId, HostId, Version } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { ContainerNetwork } from "../model/network-config.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import { appSpec } from "../sim/agent-fixtures.ts";
import { checkAppNetwork } from "./check-app-network.ts";
import { checkNetwork, usersOf } from "./check-network.ts";
import type { ClusterState } from "./cluster-state.ts";

const HOST: Host = {
  id: "id1" as HostId,
  name: "h1",
  address: parseIpv4("10.99.0.1"),
  credentialHash: "",
  blocks: ["10.2.1.0/24"],
  networks: { blue: ["10.50.1.0/24"] },
  resources: { cpus: 1, memoryMiB: 1, diskMiB: 1 },
  labels: {},
  joinedAtMs: 0,
  cordoned: false,
};

function network(name: string, range: string, change: Partial<ContainerNetwork> = {}): ContainerNetwork {
  return parseNetworkObject("network", { name, range, ...change });
}

const KNOWN = [network("blue", "10.50.0.0/16"), network("lab", "10.9.0.0/24", { mode: "layer2" })];

function stateWith(apps: readonly (readonly [string, string])[] = []) {
  const version = "2026-01-01T00:00:00.000Z" as Version;
  const record = (id: string, on: string): AppVersion => ({
    version,
    spec: appSpec({ id: id as AppId, network: on }),
    lastScalingAt: version,
    lastConfigChangeAt: version,
  });
  return {
    settings: DEFAULT_SETTINGS,
    hosts: new Map([[HOST.id, HOST]]),
    apps: new Map(apps.map(([id, on]) => [id as AppId, record(id, on)])),
    networkObjectsOf: (() => KNOWN) as unknown as ClusterState["networkObjectsOf"],
  };
}

function said(work: () => void): string {
  try {
    work();
    return "accepted";
  } catch (error) {
    const { message, hint = "" } = error as { readonly message: string; readonly hint?: string };
    return `${message}. ${hint}`;
  }
}

test.each([
  [network("red", "10.51.0.0/16"), "accepted"],
  [network("red", "10.2.128.0/17"), "overlaps 10.2.0.0/16 of the default network. Choose a free range such as"],
  [network("red", "10.3.0.0/24"), "of virtual addresses"],
  [network("red", "10.50.7.0/24"), 'of network "blue"'],
  [network("red", "10.99.0.0/16"), 'of host "h1"'],
  [network("red", "10.50.0.0/16", { mode: "layer2" }), "accepted"],
  [network("red", "10.9.0.0/24", { mode: "layer2" }), "accepted"],
  [network("red", "10.51.0.0/30"), "range must have a prefix from /8 to /29"],
  [network("red", "10.51.0.0/24", { blockPrefix: 20 }), "blockPrefix must not be larger than 10.51.0.0/24"],
  [network("host", "10.51.0.0/24"), "one of the container engine's own"],
  [network("blue", "10.50.0.0/16", { policy: "deny" }), "accepted"],
  [network("blue", "10.52.0.0/16"), 'Cannot change range or mode of network "blue": host "h1" uses it'],
  [network("lab", "10.8.0.0/24", { mode: "layer2" }), "accepted"],
])("checkNetwork() %#: %o", (wish, wanted) => {
  expect(said(() => checkNetwork(wish, stateWith()))).toContain(wanted);
});

test("usersOf() names apps and hosts", () => {
  expect(usersOf("blue", stateWith([["/shop", "blue"]]))).toEqual(['app "/shop"', 'host "h1"']);
  expect(usersOf("lab", stateWith([["/shop", "blue"]]))).toEqual([]);
});

test("checkAppNetwork() wants a network that is there, and of a segment nothing that hosts would have to reach", () => {
  const check = (spec: Parameters<typeof appSpec>[0]) => said(() => checkAppNetwork(appSpec(spec), stateWith()));
  expect(check({ network: "apollo" })).toBe("accepted");
  expect(check({ network: "host" })).toBe("accepted");
  expect(check({ network: "blue" })).toBe("accepted");
  expect(check({ network: "nope" })).toContain('there is no network "nope", only apollo, blue, lab');
  const timing = { gracePeriodMs: 0, intervalMs: 1, timeoutMs: 1, maxConsecutiveFailures: 0 };
  expect(check({ network: "lab" })).toBe("accepted");
  expect(check({ network: "lab", healthChecks: [{ ...timing, kind: "command", argv: ["true"] }] })).toBe("accepted");
  const tcp = { ...timing, kind: "tcp", portIndex: null, port: 80 } as const;
  expect(check({ network: "lab", healthChecks: [tcp] })).toContain("only command checks work");
});
