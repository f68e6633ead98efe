/**
 * `?stale` reads on one of several servers that does not lead: the same code as the leader's over this server's own copy of the
 * store, whoever leads and whether or not anybody does. Hosts and containers, which no store holds, are as the agent was told last.
 */
import type { Caller, ConsulBackend } from "../api/consul/backend.ts";
import { createConsulHandler } from "../api/consul/handler.ts";
import { AclResolver } from "../discovery/registry/acl/acl-resolver.ts";
import { Grants } from "../discovery/registry/acl/grants.ts";
import { openReplica, type RegistryReplica } from "../discovery/registry/open-replica.ts";
import { registryError } from "../discovery/registry/registry-error.ts";
import type { HttpHandler, HttpRequest } from "../platform/ports/http.ts";
import type { Replica } from "../platform/ports/replica.ts";
import { type ConsulMirrorOptions, hostsOf, membersOf, noLeader } from "./consul-mirror.ts";

export interface ConsulReplicaOptions extends ConsulMirrorOptions {
  readonly replica: Replica;
}

/** What may be old. ACLs may not, and the rest is each server's own business or the leader's. */
const STALE = /^\/v1\/(catalog|health|kv|session|query|coordinate)\//;

/** Whether the client takes an answer of any server. */
export function isStaleRead({ method, path, query }: HttpRequest): boolean {
  if (method !== "GET" || !STALE.test(path) || query.get("consistent") !== null) return false;
  return query.get("stale") !== null || query.get("max_stale") !== null;
}

export class ConsulReplica {
  readonly #options: ConsulReplicaOptions;
  readonly #registry: RegistryReplica;
  readonly #handle: HttpHandler;
  readonly #stops: readonly (() => void)[];

  /** @throws AppError `unavailable` when this server's copy cannot be read. */
  static async open(options: ConsulReplicaOptions): Promise<ConsulReplica> {
    const { clock, random, digest, replica } = options;
    return new ConsulReplica(options, await openReplica(replica, { clock, random, digest }));
  }

  private constructor(options: ConsulReplicaOptions, registry: RegistryReplica) {
    this.#options = options;
    this.#registry = registry;
    this.#follow();
    this.#handle = createConsulHandler(this.#backend());
    const topics = ["catalog", "identity"] as const;
    this.#stops = topics.map((topic) => options.state.on(topic, () => this.#follow()));
  }

  /** Aborts when this one does not follow the store any more: another one is needed. */
  get ended(): AbortSignal {
    return this.#registry.ended;
  }

  answer(request: HttpRequest): ReturnType<HttpHandler> {
    return this.#handle(this.#withOwnIndex(request));
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#registry.close();
  }

  /** Who has heard of more than this copy knows is told so, rather than left to wait for what it has seen. */
  #withOwnIndex(request: HttpRequest): HttpRequest {
    const index = request.query.get("index");
    if (index === null || !/^\d{1,20}$/.test(index)) return request;
    if (BigInt(index) <= this.#registry.parts.registry.index) return request;
    return {
      ...request,
      query: { ...request.query, get: (name) => (name === "index" ? "0" : request.query.get(name)) },
    };
  }

  #follow(): void {
    const { platform } = this.#registry.parts;
    platform.setHosts(hostsOf(this.#options.state));
    platform.resetEndpoints(this.#options.state.endpoints().filter(({ origin }) => origin !== "registry"));
  }

  #backend(): ConsulBackend {
    const { state, clock, version, hostInfo, replica } = this.#options;
    const { parts } = this.#registry;
    return {
      parts,
      version,
      aclEnabled: (state.consul?.acl ?? "off") !== "off",
      defaultPolicy: state.consul?.acl === "deny" ? "deny" : "allow",
      datacenter: () => state.identity?.settings.datacenter ?? "dc1",
      localNode: () => state.identity?.hostName ?? "",
      leader: () => replica.leader() ?? "",
      peers: () => [],
      members: () => membersOf(state),
      caller: (_request, token) => this.#caller(token),
      forceLeave: () => Promise.reject(noLeader()),
      lastContactMs: () => replica.contactMs(),
      startedAtMs: clock.nowMs(),
      hostInfo,
    };
  }

  /** By the tokens of the copy. @throws AppError 403 for one that it does not know, 500 when it is not known whether there are any. */
  #caller(token: string): Caller {
    const { consul } = this.#options.state;
    if (consul === null) throw noLeader();
    if (consul.acl === "off") return { grants: Grants.everything(), token: null };
    const resolver = new AclResolver(this.#registry.parts.registry, consul.acl === "deny" ? "deny" : "allow");
    if (token === "") return { grants: resolver.anonymousGrants(), token: null };
    const known = resolver.tokenOf(token);
    if (known === null) throw registryError(403, "ACL not found");
    return { grants: resolver.grantsOf(known), token: known };
  }
}
