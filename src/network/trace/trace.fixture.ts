import { parseIpv4 } from "../../model/ip.ts";
import type { FarFacts, NearFacts, TraceQuestion } from "./trace-facts.ts";

export const FRONT = parseIpv4("10.2.1.5");
export const DB = parseIpv4("10.2.2.7");

export const QUESTION: TraceQuestion = { from: "front", to: "db", port: null, protocol: "tcp", family: null };

export const BRIDGE_WELL = {
  name: "apollo0",
  network: "apollo",
  layer2: false,
  there: true,
  up: true,
  gateway: true,
} as const;

/** All is well: container front on h1 reaches container db on h2. */
export function nearFacts(change: Partial<NearFacts> = {}): NearFacts {
  return {
    host: "h1",
    family: 4,
    from: { kind: "container", name: "front", address: FRONT, state: "running", entered: true, wire: "veth1" },
    name: {
      asked: "db.service.consul",
      server: parseIpv4("10.2.1.1"),
      code: "NOERROR",
      addresses: [DB],
      ms: 0.4,
      expected: [DB],
      left: [],
      aside: null,
    },
    virtual: null,
    endpoint: { address: DB, port: 5432, host: "h2", container: "db", health: "passing", network: "apollo" },
    bridge: BRIDGE_WELL,
    inside: { addresses: [FRONT], route: { device: "eth0", via: null, mtu: 1500 } },
    route: { seen: { device: "eth0", via: parseIpv4("192.0.2.2"), mtu: 1500 }, expected: "eth0", block: "10.2.2.0/24" },
    policy: { allowed: true, reason: "open", by: null, rules: [], cure: null },
    link: {
      mode: "direct",
      via: null,
      why: "same network",
      up: true,
      rttMs: 0.2,
      lossPercent: 0,
      mtu: 1500,
      encryption: "none",
      best: true,
    },
    fastPath: { on: true, why: null, slow: false },
    drops: [],
    connect: { outcome: "open", ms: 1.2, cause: null },
    packets: { small: "answered", large: "answered", bytes: 1500, passes: null, drops: [] },
    conditions: [],
    ...change,
  };
}

export function farFacts(change: Partial<FarFacts> = {}): FarFacts {
  return {
    host: "h2",
    blocks: ["10.2.2.0/24"],
    owns: true,
    holder: "container",
    container: { name: "db", state: "running", entered: true, inside: true },
    bridge: BRIDGE_WELL,
    route: { device: "apollo0", via: null, mtu: 1500 },
    neighbour: { mac: "02:42:0a:02:02:07", state: "REACHABLE" },
    wire: { device: "veth9", up: true },
    listeners: ["0.0.0.0"],
    otherPorts: [5432],
    health: { endpoint: "h2:db:5432", health: "passing" },
    guarded: false,
    drops: [],
    largeDrops: [],
    conditions: [],
    ...change,
  };
}
