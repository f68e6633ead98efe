/** What 100,000 endpoints cost one agent: memory, answers, and a change from the server's message to the next answer. */
import packet from "dns-packet";
import { AgentState } from "../src/agent/agent-state.ts";
import { createDnsPart } from "../src/agent/dns-part.ts";
import { fixedResolver } from "../src/agent/resolver-file.ts";
import { DEFAULT_SETTINGS } from "../src/model/cluster.ts";
import type { Endpoint } from "../src/model/endpoint.ts";
import type { HostId, ServiceName } from "../src/model/ids.ts";
import { formatIpv4 } from "../src/model/ip.ts";
import { WIRE_VERSION } from "../src/model/wire.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { systemRandom } from "../src/platform/clock/system-random.ts";
import type { DatagramHandler, Listener } from "../src/platform/ports/listener.ts";
import type { Log } from "../src/platform/ports/log.ts";
import { median } from "./bench.ts";

const ENDPOINTS = 100_000;
const PER_SERVICE = 10;
const CHANGES = 200;
const SILENT: Log & { readonly child: () => Log } = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT,
};

export async function measureLarge(): Promise<Readonly<Record<string, number>>> {
  const before = heapMiB();
  const state = new AgentState();
  const identity = { hostId: "x" as HostId, hostName: "own", settings: DEFAULT_SETTINGS, blocks: [], epoch: "e" };
  state.receive({ type: "welcome", wire: WIRE_VERSION, ...identity });
  state.receive({ type: "catalog", reset: true, revision: 1, upsert: endpoints(), remove: [], hosts: [] });
  const endpointsMiB = heapMiB() - before;
  const sockets: DatagramHandler[] = [];
  const stop = new AbortController();
  const part = createDnsPart({
    state,
    listener: memoryListener(sockets),
    datagrams: { ask: () => Promise.resolve(null), askStream: () => Promise.resolve(null) },
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
    gateway: () => null,
    resolver: fixedResolver([]),
  });
  const running = part.run(stop.signal);
  while (sockets.length === 0) await systemClock.sleep(1);
  const zoneMiB = heapMiB() - before - endpointsMiB;
  const questions = Array.from({ length: ENDPOINTS / PER_SERVICE }, (_, index) => question(index));
  const peer = { address: "", port: 0 };
  const ask = (index: number): void => sockets[0]?.(questions[index] ?? new Uint8Array(), peer, () => undefined);
  const changes = Array.from({ length: CHANGES }, (_, index) => {
    const upsert = [endpoint(index * 7, index % 2 === 0 ? "critical" : "passing")];
    const startedAtMs = performance.now();
    state.receive({ type: "catalog", reset: false, revision: index + 2, upsert, remove: [], hosts: null });
    ask(Math.floor((index * 7) / PER_SERVICE));
    return (performance.now() - startedAtMs) * 1000;
  });
  const startedAtMs = performance.now();
  for (let index = 0; index < ENDPOINTS; index++) ask(index % questions.length);
  const elapsedMs = performance.now() - startedAtMs;
  const askedMiB = heapMiB() - before - endpointsMiB - zoneMiB;
  stop.abort();
  await running;
  return {
    large_endpoints_mib: endpointsMiB,
    large_zone_mib: zoneMiB,
    large_all_names_asked_mib: askedMiB,
    large_change_us: median(changes),
    large_answers_per_s_in_process: (ENDPOINTS / elapsedMs) * 1000,
  };
}

function endpoint(index: number, health: Endpoint["health"]): Endpoint {
  const service = `service-${Math.floor(index / PER_SERVICE)}` as ServiceName;
  const fixed = { port: 8080, protocol: "tcp", tags: ["v1"], meta: {}, instanceId: null, appId: null } as const;
  const host = `h${index % 1000}`;
  const address = formatIpv4(0x0a000000 + index);
  return { ...fixed, id: `${host}:box-${index}:8080`, service, address, host, container: `box-${index}`, health };
}

function endpoints(): readonly Endpoint[] {
  return Array.from({ length: ENDPOINTS }, (_, index) => endpoint(index, "passing"));
}

function question(service: number): Uint8Array {
  const name = `service-${service}.service.consul`;
  return packet.encode({ type: "query", id: 1, flags: 256, questions: [{ name, type: "A", class: "IN" }] });
}

function memoryListener(sockets: DatagramHandler[]): Listener {
  const binding = (address: string, port: number) => ({ address, port, close: () => undefined });
  return {
    bindUdp: (address, port, handler) => {
      sockets.push(handler);
      return Promise.resolve(binding(address, port));
    },
    bindTcp: (address, port) => Promise.resolve(binding(address, port)),
  };
}

function heapMiB(): number {
  Bun.gc(true);
  return process.memoryUsage().heapUsed / 2 ** 20;
}
