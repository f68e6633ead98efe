import { expect, test } from "bun:test";
import type { HostId, InstanceId, Version } from "../model/ids.ts";
import type { Host } from "../model/host.ts";
import type { Instance } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import { hostLoads } from "./host-load.ts";
import { sampleSpec } from "./sample-cluster.ts";

const host = (name: string, ...blocks: string[]): Host => ({
  id: name as HostId,
  name,
  address: parseIpv4("192.0.2.1"),
  credentialHash: "",
  blocks,
  resources: { cpus: 2, memoryMiB: 1024, diskMiB: 0 },
  labels: {},
  joinedAtMs: 0,
  cordoned: false,
});

test("hostLoads() adds up what every recorded instance takes, leaving ones too", () => {
  const spec = sampleSpec("/web", { cpus: 0.5, memoryMiB: 100 });
  const onHost = sampleSpec("/edge", { cpus: 1, memoryMiB: 10, network: "host" });
  const instance = (id: string, appId = spec.id, goal: Instance["goal"] = "running"): Instance => ({
    id: id as InstanceId,
    appId,
    version: "v" as Version,
    hostId: "h1" as HostId,
    createdAtMs: 0,
    goal,
  });
  const loads = hostLoads({
    hosts: [host("h2"), host("h1", "10.2.1.0/24", "10.2.9.0/29")],
    presenceOf: () => ({ phase: "up" }),
    instances: [instance("a"), instance("b", spec.id, "stopped"), instance("c", onHost.id), instance("d", sampleSpec("/x").id)],
    specOf: ({ appId }) => (appId === spec.id ? spec : appId === onHost.id ? onHost : null),
  });
  expect(loads.map(({ name }) => name)).toEqual(["h1", "h2"]);
  expect(loads[0]).toMatchObject({
    used: { cpus: 2, memoryMiB: 210, diskMiB: 0 },
    addresses: { total: 253 + 5, used: 3 },
    instances: 4,
  });
  expect(loads[1]).toMatchObject({ used: { cpus: 0 }, addresses: { total: 0, used: 0 }, instances: 0 });
});
