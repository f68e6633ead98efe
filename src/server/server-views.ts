import type { EndpointJson, HostJson, LinkJson, ServiceJson, StatusJson } from "../api/native/shapes.ts";
import { planRoutes } from "../ingress/plan-routes.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { Host } from "../model/host.ts";
import { isReady } from "../model/instance.ts";
import type { LinkReport } from "../model/link.ts";
import type { Condition, DnsCounts } from "../model/wire.ts";
import type { ClusterServer } from "./cluster-server.ts";

/** What the native API and the console show of the cluster as a whole; apps and instances are rendered by the API. */
export class ServerViews {
  readonly #server: ClusterServer;
  readonly #version: string;
  readonly #nowMs: () => number;

  constructor(server: ClusterServer, version: string, nowMs: () => number) {
    this.#server = server;
    this.#version = version;
    this.#nowMs = nowMs;
  }

  hosts(): readonly HostJson[] {
    const hosts = [...this.#server.state.hosts.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return hosts.map((host) => this.host(host));
  }

  host(host: Host): HostJson {
    const { state, hub, liveness } = this.#server;
    const instances = [...(state.instancesByHost.get(host.id)?.values() ?? [])];
    const specs = instances.map((instance) => state.specOf(instance));
    const observed = hub.observed.get(host.id);
    const { phase } = liveness.presenceOf(host.id);
    return {
      id: host.id,
      name: host.name,
      address: host.address,
      phase,
      cordoned: host.cordoned,
      blocks: host.blocks,
      ...(host.networks === undefined ? {} : { networks: host.networks }),
      cpus: { total: host.resources.cpus, used: round(specs.reduce((sum, spec) => sum + (spec?.cpus ?? 0), 0)) },
      memoryMiB: {
        total: host.resources.memoryMiB,
        used: specs.reduce((sum, spec) => sum + (spec?.memoryMiB ?? 0), 0),
      },
      instances: instances.length,
      labels: host.labels,
      agentVersion: observed?.agentVersion ?? null,
      // Whole seconds are all that people read of it, and a feed that changes with every heartbeat is noise.
      lastSeenMs: phase === "up" ? null : liveness.lastHeardMs(host.id),
      joinedAtMs: host.joinedAtMs,
      conditions: observed?.conditions ?? [],
    };
  }

  /** What a host that is down said last is not true any more. */
  links(): readonly LinkJson[] {
    const { state, hub, liveness } = this.#server;
    return [...state.hosts.values()]
      .filter((host) => liveness.presenceOf(host.id).phase === "up")
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((host) =>
        (hub.observed.get(host.id)?.links ?? [])
          .toSorted((a, b) => (a.peer < b.peer ? -1 : 1))
          .map((link) => ({ host: host.name, ...withoutId(link) })),
      );
  }

  /** By host, of those that are up and have a fast path. */
  dnsCounts(): ReadonlyMap<string, DnsCounts> {
    const { state, hub, liveness } = this.#server;
    const up = [...state.hosts.values()].filter((host) => liveness.presenceOf(host.id).phase === "up");
    const counted = up.flatMap(({ id, name }) => {
      const dns = hub.observed.get(id)?.dns;
      return dns === undefined ? [] : [[name, dns] as const];
    });
    return new Map(counted.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  services(): readonly ServiceJson[] {
    const { catalog, state } = this.#server;
    const { routes } = planRoutes(catalog.list(), state.settings);
    return catalog.services().map((service) => ({
      name: service.name,
      tags: service.tags,
      endpoints: service.endpoints.map(endpointJson),
      routes: routes.filter((route) => route.service === service.name).map((route) => route.hostname),
    }));
  }

  status(): StatusJson {
    const { state, hub, liveness, catalog } = this.#server;
    const hosts = [...state.hosts.values()];
    // What a host that is down said last is not what runs.
    const live = [...state.instances.values()].filter(({ hostId }) => liveness.presenceOf(hostId).phase !== "down");
    const statuses = live.map(({ id }) => hub.statuses.get(id));
    const { range, range6 = null, virtualRange, blockPrefix, dnsDomain, ingressDomain } = state.settings;
    return {
      version: this.#version,
      uptimeMs: this.#nowMs() - this.#server.startedAtMs,
      hosts: { up: hosts.filter((host) => liveness.presenceOf(host.id).phase === "up").length, total: hosts.length },
      apps: state.apps.size,
      instances: {
        wanted: [...state.apps.values()].reduce((sum, app) => sum + app.spec.instances, 0),
        running: statuses.filter((status) => status?.phase === "running").length,
        healthy: statuses.filter(isReady).length,
      },
      services: catalog.services().length,
      deployments: state.deployments.size,
      settings: { range, range6, virtualRange, blockPrefix, dnsDomain, ingressDomain },
      conditions: this.#conditions(),
    };
  }

  #conditions(): readonly (Condition & { readonly host: string | null })[] {
    const { state, hub, liveness, rollout } = this.#server;
    const hosts = [...state.hosts.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const down = hosts
      .filter((host) => liveness.presenceOf(host.id).phase === "down")
      .map((host) => ({
        code: "host-down",
        severity: "error" as const,
        text: `Host "${host.name}" has not been heard of`,
        hint: `Look at its agent; if it is gone for good: apollo host remove ${host.name}`,
        host: host.name,
      }));
    const own = hosts.flatMap((host) =>
      (hub.observed.get(host.id)?.conditions ?? []).map((condition) => ({ ...condition, host: host.name })),
    );
    const waiting = rollout.problems.map((problem) => ({
      code: `app-${problem.code}`,
      severity: "warning" as const,
      text: `${problem.appId}: ${problem.message}`,
      hint: `apollo why ${problem.appId.slice(1)}`,
      host: null,
    }));
    return [...down, ...own, ...waiting];
  }
}

function endpointJson(endpoint: Endpoint): EndpointJson {
  const { id, address, port, protocol, tags, host, container, instanceId, health } = endpoint;
  return { id, address, port, protocol, tags, host, container, instance: instanceId, health };
}

/** Sums of shares like 0.3 carry binary dust that nobody wants to read. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** People and their tools know hosts by name. */
function withoutId(link: LinkReport): Omit<LinkReport, "peerId"> {
  const { peer, mode, via, why, up, rttMs, lossPercent, mtu, txBytes, rxBytes, encryption, sinceMs } = link;
  return { peer, mode, via, why, up, rttMs, lossPercent, mtu, txBytes, rxBytes, encryption, sinceMs };
}
