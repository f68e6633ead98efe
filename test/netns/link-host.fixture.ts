/**
 * One host's network and links parts, in the namespace that this program is started in: what the agent runs, with an
 * engine that has nothing to do. Argument: a `LinkHostWish` as JSON. Prints one JSON line with each change of the links.
 */
import { createLinkBytesPart } from "../../src/agent/link-bytes-part.ts";
import { createLinksPart } from "../../src/agent/links-part.ts";
import { AgentState } from "../../src/agent/agent-state.ts";
import { createLastKnownPart, loadLastKnown } from "../../src/agent/last-known.ts";
import { createNetworkPart } from "../../src/agent/network-part.ts";
import type { NetworkEngine } from "../../src/agent/network-subject.ts";
import { DEFAULT_SETTINGS } from "../../src/model/cluster.ts";
import type { Peer } from "../../src/model/host.ts";
import { PROBE_PORT } from "../../src/network/links/probe-datagram.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { nodeMac } from "../../src/platform/digest/node-mac.ts";
import { diskFile } from "../../src/platform/files/disk-file.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import { LinuxLinkCounters } from "../../src/platform/linux/linux-link-counters.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { EngineNetwork } from "../../src/platform/ports/engine.ts";
import type { Log } from "../../src/platform/ports/log.ts";
import { LinuxProbeSockets } from "../../src/platform/udp/probe-sockets.ts";

/** This host is the first of `hosts` with this name. */
export interface LinkHostWish {
  readonly name: string;
  readonly hosts: readonly Peer[];
  readonly probeKey: string;
  /** Where the agent keeps what it knows, over restarts. */
  readonly file: string;
}

const networks = new Map<string, EngineNetwork>();
const engine: NetworkEngine = {
  info: () => Promise.resolve({ version: "20.10.24", apiVersion: "1.41", cpus: 1, memoryBytes: 0 }),
  listNetworks: () => Promise.resolve([...networks.values()]),
  createNetwork: (spec) => {
    networks.set(spec.name, { ...spec, id: spec.name, containers: 0 } as unknown as EngineNetwork);
    return Promise.resolve(spec.name) as never;
  },
  removeNetwork: (name) => {
    networks.delete(name);
    return Promise.resolve();
  },
  watch: (_, signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true })),
};
const say = (message: string, fields?: unknown): void => console.error(message, JSON.stringify(fields ?? {}));
const log: Log = { debug: () => undefined, info: say, warn: say, error: say };

async function runHost({ name, hosts, probeKey, file }: LinkHostWish): Promise<void> {
  const own = hosts.find((host) => host.name === name);
  if (own === undefined) throw new Error(`There is no host ${name}`);
  const state = new AgentState();
  const lastKnown = diskFile(file);
  const known = await loadLastKnown(lastKnown, log);
  if (known !== null) state.restore(known);
  state.receive({
    type: "welcome",
    wire: 1,
    hostId: own.id,
    hostName: name,
    settings: { ...DEFAULT_SETTINGS, encryption: "off" },
    blocks: own.blocks,
    epoch: "e",
    probeKey,
  });
  state.receive({ type: "peers", peers: hosts.filter((host) => host !== own) });
  const [clock, random] = [systemClock, systemRandom];
  if (own.probeAddress !== undefined) state.setProbeAddress(own.probeAddress);
  const runner = new ProcessRunner();
  const kernel = new LinuxHostNetwork({ runner, clock });
  const network = createNetworkPart({ state, engine, clock, log, network: kernel });
  const sockets = new LinuxProbeSockets(PROBE_PORT);
  const gateway = () => network.gateway();
  const links = createLinksPart({ state, sockets, makeMac: nodeMac, clock, random, log, gateway });
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => stop.abort());
  const tell = (): void => console.log(JSON.stringify({ links: state.links, conditions: state.conditions() }));
  state.on("links", tell);
  const keep = createLastKnownPart({ state, file: lastKnown, clock, log });
  const bytes = createLinkBytesPart({ state, counters: new LinuxLinkCounters({ runner }), clock });
  await Promise.all([keep, network, links, bytes].map((part) => part.run(stop.signal)));
}

if (import.meta.main) {
  await runHost(JSON.parse(process.argv[2] ?? "") as LinkHostWish);
  process.exit(0);
}
