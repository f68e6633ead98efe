import { isBlocking, isLargeBody, redirected } from "../api/consul/handler.ts";
import { CLIENT_REQUESTS_MAX, limitClients } from "../api/consul/limit-clients.ts";
import { renderError } from "../api/consul/respond.ts";
import { isFromThisMachine } from "../cluster/access.ts";
import { accessRequestOf } from "../cluster/credentials.ts";
import type { ClientRights } from "../cluster/passed-on.ts";
import { AppError } from "../model/error.ts";
import { cidrContains, isIpv4, type Ipv4, parseCidr } from "../model/ip.ts";
import type { Condition } from "../model/wire.ts";
import type { HttpRequest, HttpResponse, HttpUpgrade } from "../platform/ports/http.ts";
import type { HttpBinding, HttpListener } from "../platform/ports/http-listener.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Replica } from "../platform/ports/replica.ts";
import type { ConsulAccess } from "./agent-config.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import { ConsulForward, type ConsulForwardOptions } from "./consul-forward.ts";
import { ConsulMirror, type ConsulMirrorOptions, noLeader } from "./consul-mirror.ts";
import { ConsulReplica, isStaleRead } from "./consul-replica.ts";

export interface ConsulPartOptions extends ConsulMirrorOptions, ConsulForwardOptions {
  readonly state: AgentState;
  readonly listener: HttpListener;
  readonly log: Log;
  /** Address of the bridge, null while there is none. */
  readonly gateway: () => Ipv4 | null;
  readonly access: ConsulAccess;
  /** Whether an Apollo answers there already: a server on this machine serves the same. */
  readonly isOurs: (address: string, port: number) => Promise<boolean>;
  /** A test that is not root, or shares the machine, chooses another. */
  readonly port?: number;
  /** Instead of loopback and the bridge. */
  readonly addresses?: readonly string[];
  /** Requests of one address under way at once; 0 for any number. */
  readonly clientMax?: number;
  /** Answers what is this process's own business, before all else. */
  readonly intercept?: (request: HttpRequest) => Promise<HttpResponse> | null;
  /** On one of several servers. */
  readonly standby?: Standby;
  /** Told what a server answered: some of that concerns this process as well. */
  readonly onForwarded?: (request: HttpRequest, status: number) => void;
}

/** What a server says of itself, whoever leads. */
const OWN = /^\/v1\/(agent|status)\//;
/** What a server has of its own for the time that it does not lead. */
export interface Standby {
  /** Its copy of the store. */
  readonly replica: Replica;
  /** Where it answers when it leads, as agents know it. */
  readonly selfUrl: string;
  /** Names of servers that are away, while nobody leads who could tell. */
  readonly missing: () => ReadonlySet<string>;
}

const LOOPBACK = "127.0.0.1";
const CONSUL_PORT = 8500;
/** The bridge comes with the first network pass, and a taken port may come free. */
const BIND_RETRY_MS = 1000;
const RESYNC_MS = 10_000;
const GRACE_MS = 1000;

/** Serves Consul's API on this host, where Consul's clients look for their agent. */
export function createConsulPart(options: ConsulPartOptions): AgentPart {
  return { name: "consul", run: (signal) => new ConsulPart(options).run(signal) };
}

class ConsulPart {
  readonly #options: ConsulPartOptions;
  readonly #forward: ConsulForward;
  readonly #bindings = new Map<string, HttpBinding>();
  #mirror: Promise<ConsulMirror> | null = null;
  #conditions = "";
  #replica: Promise<ConsulReplica> | null = null;

  constructor(options: ConsulPartOptions) {
    this.#options = options;
    this.#forward = new ConsulForward(options);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, clock, access } = this.#options;
    if (access === "off") return;
    const stop = state.on("connection", () => (state.connected ? this.#dropMirror() : undefined));
    while (!signal.aborted) {
      // One that stood in for a single answer that was lost.
      if (state.connected) this.#dropMirror();
      const wanted = this.#addresses();
      for (const address of this.#bindings.keys()) if (!wanted.includes(address)) await this.#unbind(address);
      const faults: Condition[] = [];
      for (const address of wanted) faults.push(...(await this.#bind(address)));
      this.#report(faults);
      await clock.sleep(this.#bindings.size === wanted.length ? RESYNC_MS : BIND_RETRY_MS, signal);
    }
    stop();
    // First: who waits for a change would else hold up the end.
    this.#dropMirror();
    await this.#replica?.then(
      (replica) => replica.close(),
      () => undefined,
    );
    await Promise.all([...this.#bindings.keys()].map((address) => this.#unbind(address)));
  }

  #addresses(): readonly string[] {
    const gateway = this.#options.gateway();
    if (this.#options.addresses !== undefined) return this.#options.addresses;
    return gateway === null || this.#options.access === "host" ? [LOOPBACK] : [LOOPBACK, gateway];
  }

  async #bind(address: string): Promise<readonly Condition[]> {
    if (this.#bindings.has(address)) return [];
    const { listener, log, isOurs, clientMax = CLIENT_REQUESTS_MAX } = this.#options;
    const port = this.#options.port ?? CONSUL_PORT;
    try {
      // An agent reads a body before a server says who may send it: large ones are for programs of this host.
      const isLarge = (request: HttpRequest): boolean => request.peer.loopback && isLargeBody(request);
      const handle = limitClients((request) => this.#answer(request), {
        max: clientMax,
        // Programs on the host that use the bridge's address come from it.
        isShared: ({ peer }) => plainAddress(peer) === this.#options.gateway(),
      });
      this.#bindings.set(address, listener.listen({ address, port, handle, isLong: isBlocking, isLarge }));
      log.info(`Answering Consul's API on ${address}:${port}`);
      return [];
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === "conflict" && (await isOurs(address, port))) return [];
      return [
        {
          code: "consul-not-bound",
          severity: "warning",
          text: `Consul's API is not served here: ${error.message}`,
          hint: `Stop who has the port (ss -ltnp sport = :${port}), or start the agent with --consul off`,
        },
      ];
    }
  }

  async #unbind(address: string): Promise<void> {
    const binding = this.#bindings.get(address);
    this.#bindings.delete(address);
    await binding?.close(GRACE_MS);
  }

  #report(conditions: readonly Condition[]): void {
    const text = JSON.stringify(conditions);
    if (text === this.#conditions) return;
    this.#conditions = text;
    this.#options.state.setConditions("consul", conditions);
    for (const condition of conditions) this.#options.log.warn(condition.text, { hint: condition.hint });
  }

  async #answer(request: HttpRequest): Promise<HttpResponse | HttpUpgrade> {
    const { state } = this.#options;
    const rights = this.#rightsOf(request);
    // Here, since a server's port has more than this API on it.
    const moved = redirected(request);
    if (moved !== null) return moved;
    try {
      const own = rights === "write" ? (this.#options.intercept?.(request) ?? null) : null;
      if (own !== null) return await own;
      if (request.path === "/" && request.method === "GET") return this.#toConsole();
      const stale = rights === "none" ? null : await this.#answerStale(request);
      if (stale !== null) return stale;
      if (state.connected && state.serverUrl !== null && !state.isRemoved()) {
        const answer = await this.#forward.forward(state.serverUrl, request, rights);
        this.#options.onForwarded?.(request, answer.status);
        return answer;
      }
    } catch (error) {
      if (!(error instanceof AppError) || typeof error.details["status"] === "number") return refuse(error);
      if (request.signal.aborted) throw error;
      // Whether a change arrived is not known: it is not tried again, and what can be read is read below.
    }
    try {
      if (rights === "none" || (this.#options.standby !== undefined && !OWN.test(request.path))) throw noLeader();
      return await (await this.#openMirror()).answer(request);
    } catch (error) {
      return refuse(error);
    }
  }

  /** Null: that is for the leader to answer, such as what this server's copy does not let the caller see. */
  async #answerStale(request: HttpRequest): Promise<HttpResponse | HttpUpgrade | null> {
    const { state, standby } = this.#options;
    if (standby === undefined || !isStaleRead(request)) return null;
    if (state.connected && state.serverUrl === standby.selfUrl) return null;
    const answer = await (await this.#openReplica(standby.replica)).answer(request);
    return "status" in answer && answer.status === 403 && state.connected ? null : answer;
  }

  /** One that does not follow any more makes room for the next. */
  #openReplica(replica: Replica): Promise<ConsulReplica> {
    if (this.#replica !== null) return this.#replica;
    const opening = ConsulReplica.open({ ...this.#options, replica });
    this.#replica = opening;
    const drop = (): void => {
      if (this.#replica === opening) this.#replica = null;
    };
    opening.then(({ ended }) => (ended.aborted ? drop() : ended.addEventListener("abort", drop)), drop);
    return opening;
  }

  /** The console is where Consul's clients expect the page of their agent. */
  #toConsole(): HttpResponse {
    const { serverUrl } = this.#options.state;
    if (serverUrl === null) return refuse(noLeader());
    return { status: 302, headers: { location: `${serverUrl}/ui/` }, body: "" };
  }

  #openMirror(): Promise<ConsulMirror> {
    const missing = this.#options.standby?.missing;
    this.#mirror ??= ConsulMirror.open(missing === undefined ? this.#options : { ...this.#options, missing });
    return this.#mirror;
  }

  #dropMirror(): void {
    void this.#mirror?.then((mirror) => mirror.close());
    this.#mirror = null;
  }

  /** What a client may do without a token while ACLs are off, by where it is. */
  #rightsOf(request: HttpRequest): ClientRights {
    const { state, access, gateway } = this.#options;
    const peer = plainAddress(request.peer);
    // Programs on the host that use the bridge's address come from it.
    const isBridge = peer === gateway();
    if (request.peer.loopback && !isBridge) return isFromThisMachine(accessRequestOf(request)) ? "write" : "none";
    if (request.header("origin") !== null) return "none";
    if (isBridge) return "write";
    const local = (state.identity?.blocks ?? []).some((block) => isIpv4(peer) && cidrContains(parseCidr(block), peer));
    return local && (access === "read" || access === "write") ? access : "none";
  }
}

function plainAddress({ address }: HttpRequest["peer"]): string {
  return address.replace(/^::ffff:/, "");
}

function refuse(error: unknown): HttpResponse {
  if (error instanceof AppError) return renderError(error);
  throw error;
}
