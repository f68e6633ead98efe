/** Hosts that answer virtual addresses and published ports by the agent's own parts, on real kernels in namespaces. */
import { AgentState } from "../../src/agent/agent-state.ts";
import { createNetworkPart } from "../../src/agent/network-part.ts";
import type { NetworkEngine } from "../../src/agent/network-subject.ts";
import { createOutsidePart } from "../../src/agent/outside-part.ts";
import { DEFAULT_SETTINGS } from "../../src/model/cluster.ts";
import type { Endpoint } from "../../src/model/endpoint.ts";
import type { HostId } from "../../src/model/ids.ts";
import type { Ipv4 } from "../../src/model/ip.ts";
import { EMPTY_NETWORK_CONFIG, type NetworkConfig } from "../../src/model/network-config.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import { LinuxHostTraffic } from "../../src/platform/linux/host-traffic.ts";
import type { Namespace } from "./network-lab.ts";
import { waitFor } from "./network-lab.ts";
import { endpointOf } from "../../src/model/endpoint.fixture.ts";
import { SILENT_LOG } from "../../src/sim/silent-log.ts";

/** An engine without containers, which takes every network. */
const NO_ENGINE: NetworkEngine = {
  info: () => Promise.resolve({ version: "20.10.24", apiVersion: "1.41", cpus: 2, memoryBytes: 0 }),
  listNetworks: () => Promise.resolve([]),
  createNetwork: (spec) => Promise.resolve(spec.name),
  removeNetwork: () => Promise.resolve(),
  watch: (_, signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true })),
};

export interface HostPlace {
  readonly name: string;
  readonly address: Ipv4;
  readonly block: string;
}

/** Where an instance of a service is. */
export type ServedAt = Pick<Endpoint, "host" | "address" | "address6" | "port">;

/** An instance of a service. */
export function served(service: string, at: ServedAt, more: Partial<Endpoint> = {}): Endpoint {
  const { host, address, port } = at;
  return endpointOf({ id: `${host}:${address}:${port}`, service, ...at, container: address, ...more });
}

/** The hosts of a cluster without a server: what they are told, the test tells them. */
export class OutsideHosts {
  readonly states = new Map<string, AgentState>();
  readonly #end = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly #range6: string | null;
  #revision = 0;

  /** `range6`: containers have IPv6 addresses of it. */
  constructor(places: readonly HostPlace[], spaces: ReadonlyMap<string, Namespace>, range6: string | null = null) {
    this.#range6 = range6;
    for (const place of places) {
      const space = spaces.get(place.name);
      if (space !== undefined) this.#start(place, places, space);
    }
  }

  #start(place: HostPlace, places: readonly HostPlace[], { runner }: Namespace): void {
    const state = new AgentState();
    const { name: hostName, block } = place;
    // The addresses of documentation are not trusted, and keys are another test's business.
    const settings = { ...DEFAULT_SETTINGS, encryption: "off", range6: this.#range6 } as const;
    state.identity = { hostId: hostName as HostId, hostName, settings, blocks: [block], epoch: "e" };
    for (const { name, address, block: other } of places) {
      state.peers.set(name as HostId, { id: name as HostId, name, address, blocks: [other] });
    }
    const clock = systemClock;
    const network = createNetworkPart({
      state,
      engine: NO_ENGINE,
      network: new LinuxHostNetwork({ runner, clock }),
      clock,
      log: SILENT_LOG,
    });
    const isHidden = (address: string): boolean =>
      [network.gateway(), network.gateway6()].some((own) => own === address);
    const traffic = new LinuxHostTraffic({ runner, isHidden });
    const outside = createOutsidePart({ state, traffic, clock, log: SILENT_LOG });
    this.states.set(hostName, state);
    this.#running.push(network.run(this.#end.signal), outside.run(this.#end.signal));
  }

  /** Tells all hosts, and resolves when each says that it serves this. */
  async declare(endpoints: readonly Endpoint[], config: Partial<NetworkConfig>): Promise<void> {
    this.#revision += 1;
    const revision = this.#revision;
    for (const [name, state] of this.states) {
      state.receive({ type: "network-config", config: { ...EMPTY_NETWORK_CONFIG, ...config } });
      state.setLocalEndpoints(endpoints.filter(({ host }) => host === name));
      state.receive({ type: "catalog", reset: true, revision, upsert: endpoints, remove: [], hosts: null });
    }
    await waitFor(`catalog ${revision} on every host`, () =>
      Promise.resolve([...this.states.values()].every((state) => serves(state, revision))),
    );
  }

  async close(): Promise<void> {
    this.#end.abort();
    await Promise.all(this.#running);
  }
}

/** A host whose rules are not in the kernel yet sends nobody anywhere: a drain need not wait for it, but the test must. */
function serves(state: AgentState, revision: number): boolean {
  const served = state.servedRules ?? [];
  return state.appliedRevision() === revision && state.rules().every((part) => served.includes(part));
}
