/**
 * Consul's API over what this agent knows last, for the time without a server: the same code as the server's, over a registry
 * that nobody can write. It is made when it is first asked and let go when a server is back.
 */
import type { Caller, ConsulBackend, Member } from "../api/consul/backend.ts";
import { createConsulHandler } from "../api/consul/handler.ts";
import { CONSUL_VERSION } from "../api/consul/agent-routes.ts";
import { Grants } from "../discovery/registry/acl/grants.ts";
import type { PlatformHost } from "../discovery/registry/platform-catalog.ts";
import { openRegistry, type RegistryParts } from "../discovery/registry/registry-parts.ts";
import { registryError } from "../discovery/registry/registry-error.ts";
import { namesServer } from "../model/endpoint.ts";
import type { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { HttpHandler, HttpRequest } from "../platform/ports/http.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store } from "../platform/ports/store.ts";
import type { AgentState } from "./agent-state.ts";

export interface ConsulMirrorOptions {
  readonly state: AgentState;
  readonly clock: Clock;
  readonly random: Random;
  readonly digest: Digest;
  readonly version: string;
  readonly hostInfo: () => object;
  /** Names of members that are known to be away, whatever a server said last. */
  readonly missing?: () => ReadonlySet<string>;
}

/** What can be told from the catalog alone. The rest is the server's to say. */
const KNOWN = /^\/v1\/(catalog\/(datacenters|nodes|services|service|node|node-services)|health|agent|status)(\/|$)/;

export class ConsulMirror {
  readonly #options: ConsulMirrorOptions;
  readonly #parts: RegistryParts;
  readonly #handle: HttpHandler;
  readonly #stops: readonly (() => void)[];
  /** A little after the last word of a server: it is made with the first question after that. */
  readonly #openedMs: number;

  static async open(options: ConsulMirrorOptions): Promise<ConsulMirror> {
    const { clock, random, digest } = options;
    return new ConsulMirror(options, await openRegistry({ store: emptyStore(), clock, random, digest }));
  }

  private constructor(options: ConsulMirrorOptions, parts: RegistryParts) {
    this.#options = options;
    this.#parts = parts;
    this.#openedMs = options.clock.monotonicMs();
    this.#follow();
    this.#handle = createConsulHandler(this.#backend());
    const topics = ["catalog", "identity"] as const;
    this.#stops = topics.map((topic) => options.state.on(topic, () => this.#follow()));
  }

  /** @throws AppError 500 in Consul's words for what needs a server. */
  async answer(request: HttpRequest): ReturnType<HttpHandler> {
    const { query } = request;
    const strict = query.get("consistent") !== null || query.get("leader") !== null;
    if (request.method !== "GET" || !KNOWN.test(request.path) || strict) throw noLeader();
    return this.#handle(this.#withOwnIndex(request));
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#parts.close();
  }

  /** An index of the server's says nothing about ours: its client is answered at once, and then waits with ours. */
  #withOwnIndex(request: HttpRequest): HttpRequest {
    const index = request.query.get("index");
    if (index === null || !/^\d{1,20}$/.test(index) || BigInt(index) <= this.#parts.registry.index) return request;
    return {
      ...request,
      query: { ...request.query, get: (name) => (name === "index" ? "0" : request.query.get(name)) },
    };
  }

  #follow(): void {
    const { state } = this.#options;
    const endpoints = state.endpoints();
    this.#parts.platform.setHosts(hostsOf(state));
    this.#parts.platform.resetEndpoints(endpoints.filter(({ origin }) => origin !== "registry"));
    const registered = [...state.eachEndpoint()].filter(({ origin }) => origin === "registry");
    this.#parts.platform.resetRegistered(registered.filter((each) => !namesServer(each)));
  }

  #backend(): ConsulBackend {
    const { state, clock, version, hostInfo } = this.#options;
    return {
      parts: this.#parts,
      version,
      aclEnabled: false,
      defaultPolicy: "allow",
      datacenter: () => state.identity?.settings.datacenter ?? "dc1",
      localNode: () => state.identity?.hostName ?? "",
      leader: () => "",
      peers: () => [],
      members: () => membersOf(state, this.#options.missing?.()),
      caller: () => this.#caller(),
      forceLeave: () => Promise.reject(noLeader()),
      lastContactMs: () => Math.round(clock.monotonicMs() - this.#openedMs),
      startedAtMs: clock.nowMs(),
      hostInfo,
    };
  }

  /** Who may read what is the server's to say: without it nobody's token can be looked up. */
  #caller(): Caller {
    if (this.#options.state.consul?.acl !== "off") throw noLeader();
    return { grants: Grants.everything(), token: null };
  }
}

export function noLeader(): AppError {
  return registryError(500, "No cluster leader");
}

export function membersOf(state: AgentState, missing: ReadonlySet<string> = new Set()): readonly Member[] {
  return hostsOf(state).map((host): Member => {
    return { ...host, status: host.up && !missing.has(host.name) ? "alive" : "failed" };
  });
}

export function hostsOf(state: AgentState): readonly PlatformHost[] {
  const { hosts, peers, identity } = state;
  const servers = new Set([...state.eachEndpoint()].filter(namesServer).map(({ host }) => host));
  const ids = new Map([...peers.values()].map(({ id, name }) => [name, id as string]));
  if (identity !== null) ids.set(identity.hostName, identity.hostId);
  const meta = { "consul-version": CONSUL_VERSION };
  return hosts.map(({ name, address, up }) => {
    const server = servers.has(name);
    return { id: ids.get(name) ?? "", name, address, up, server, meta };
  });
}

/** Nothing is stored, and nothing can be. */
function emptyStore(): Store {
  let opened = false;
  return {
    get: () => Promise.resolve(null),
    list: () => Promise.resolve([]),
    commit: () => {
      // The registry reserves its first indexes when it opens.
      if (opened) return Promise.reject(noLeader());
      opened = true;
      return Promise.resolve(1);
    },
    watch: () => () => undefined,
    close: () => Promise.resolve(),
  };
}
