import { AppError } from "../model/error.ts";
import type { AnnouncedKeys, HostResources } from "../model/host.ts";
import type { HostAddress } from "../model/ip6.ts";
import { applyLinkChanges, countedLinks, joinLinkChanges, linkChanges } from "../model/link.ts";
import type { LinkReport } from "../model/link.ts";
import { HEARTBEAT_INTERVAL_MS, WIRE_OF_CHANGES, WIRE_VERSION, WIRE_VERSION_MIN } from "../model/wire.ts";
import type { AgentMessage, Refusal, ServerMessage } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Transport, TransportConnection } from "../platform/ports/transport.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";
import { Channels } from "./channels.ts";
import { DeltaSender } from "./delta-sender.ts";
import { parseServerMessage } from "../model/parse-message.ts";

export interface LinkPartOptions {
  readonly state: AgentState;
  readonly engine: Engine;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Tried in turn, with those that a server told of. */
  readonly serverUrls: readonly string[];
  readonly agentVersion: string;
  readonly address: HostAddress;
  /** Looks anew for the address that others reach this host by, null when there is none; missing when an operator set it. */
  readonly findAddress?: () => Promise<HostAddress | null>;
  readonly labels: Readonly<Record<string, string>>;
  /** What this host has to give; asked anew for each connection. */
  readonly resources: () => Promise<HostResources>;
}

/** With what one run of the agent tells itself from another. */
type LinkOptions = LinkPartOptions & { readonly runId: string };

const CONNECT_TIMEOUT_MS = 5000;
/** A machine that has gone must not keep a host from the next server: a new leader waits ten seconds for its hosts. */
const CONNECT_TIMEOUT_OF_SEVERAL_MS = 2000;
/** A server that restarts is back in a second; a thousand hosts must not all knock at the same moment. */
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5000;
/** Of several servers one leads, and another one soon after that has died: nobody should be slow to find it. */
const BACKOFF_OF_SEVERAL_MAX_MS = 500;
/** Changes of one burst (a container starts: report, health, endpoints) go in one frame each. */
const COALESCE_MS = 2;
/** A server that took the connection but not the hello within this time will not. */
const WELCOME_TIMEOUT_MS = 10_000;
/** What follows from a removal cannot be taken back: one answer is not enough. */
const DENIALS_MAX = 2;
/** While the container engine was away at the hello, this often it is asked again for what the host has. */
const RESOURCES_AGAIN_MS = 5000;
const DELTA_TOPICS: readonly Topic[] = ["reports", "local", "holders", "check-results"];
/** Links are looked at this often; what differs for nobody is not told. */
const LINKS_INTERVAL_MS = 5000;
/** Counted bytes alone are told this often, with many links less often: a message has all links of the host. */
const COUNTED_INTERVAL_MS = 15_000;
const COUNTED_INTERVAL_LINK_MS = 300;
/** A host that got another address tells so within this time, whether or not its connections noticed. */
const ADDRESS_INTERVAL_MS = 5000;

/** Keeps one stream to a server: what this host sees goes up, what is wanted of it comes down. */
export function createLinkPart(options: LinkPartOptions): AgentPart {
  const runId = options.random.uuid();
  return { name: "link", run: (signal) => runLink({ ...options, runId }, signal) };
}

async function runLink(options: LinkOptions, signal: AbortSignal): Promise<void> {
  const { state, clock, random, log } = options;
  let failures = 0;
  let denials = 0;
  /** By server: of several each has its own. */
  const told = new Map<string, string>();
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const urls = serversOf(options);
    const url = urls[attempt % urls.length];
    if (url === undefined) throw new Error("Cannot run the link: no server was given");
    const end = await new Session(options, url).run(signal);
    if (signal.aborted) return;
    if (end.welcomed) {
      failures = 0;
      told.clear();
    }
    // Of several servers only the one that leads can tell: what the others say takes nothing back.
    if (end.welcomed || (urls.length === 1 && end.denied !== true)) denials = 0;
    else if (end.denied === true) denials += 1;
    if (denials >= DENIALS_MAX) state.refuse(notAMember(end));
    if (end.reason !== told.get(url)) log.warn(`Connection to server ${url} ended: ${end.reason}`, { hint: end.hint });
    told.set(url, end.reason);
    const maxMs = urls.length === 1 ? BACKOFF_MAX_MS : BACKOFF_OF_SEVERAL_MAX_MS;
    // The next one is tried soon; who has tried all of them waits longer each time.
    const round = Math.floor(failures / urls.length);
    const waitMs = Math.min(maxMs, BACKOFF_FIRST_MS * 2 ** round) * (0.5 + random.next() / 2);
    failures += 1;
    await clock.sleep(waitMs, signal);
  }
}

/** Those that a server told of last, then those that this host was started with. */
function serversOf({ state, serverUrls }: LinkOptions): readonly string[] {
  return [...new Set([...(state.consul?.servers ?? []), ...serverUrls])];
}

/** The server, known by its certificate, does not know this host's credential: it was removed while it was away. */
function notAMember(end: SessionEnd): Refusal {
  return {
    code: "host-removed",
    text: `This host is no member of the cluster any more. ${end.reason}`,
    hint: end.hint ?? "Join again with a token from apollo host token",
  };
}

interface SessionEnd {
  readonly welcomed: boolean;
  /** The server does not know this host's credential. */
  readonly denied?: boolean;
  readonly reason: string;
  readonly hint?: string;
}

/** One connection, from hello to its end. */
class Session {
  readonly #options: LinkOptions;
  readonly #url: string;
  #toldKeys: AnnouncedKeys | null = null;
  readonly #ended = new AbortController();
  readonly #channels: Channels;
  readonly #deltas: DeltaSender;
  #connection: TransportConnection | null = null;
  #welcomed = false;
  #reason = "";
  #flushing = false;
  /** As told to this server; null before the first time. */
  #links: readonly LinkReport[] | null = null;
  #wire = WIRE_VERSION_MIN;
  #linksMs = Number.NEGATIVE_INFINITY;
  #countedMs = Number.NEGATIVE_INFINITY;
  #waiting = 0;

  constructor(options: LinkOptions, url: string) {
    this.#options = options;
    this.#url = url;
    const { state, engine, clock } = options;
    const send = (message: AgentMessage): void => this.#send(message);
    const bufferedBytes = (): number => this.#connection?.bufferedBytes() ?? 0;
    this.#channels = new Channels({ state, engine, clock, send, bufferedBytes });
    this.#deltas = new DeltaSender(state, send);
  }

  async run(signal: AbortSignal): Promise<SessionEnd> {
    const { state, transport, clock } = this.#options;
    const stop = (): void => this.#end("the agent ends");
    signal.addEventListener("abort", stop);
    const stops = DELTA_TOPICS.map((topic) => state.on(topic, () => this.#soon()));
    stops.push(state.on("applied", () => this.#heartbeat()));
    stops.push(state.on("keys", () => this.#tellKeys()));
    stops.push(state.on("addresses", () => this.#seeAddresses()));
    try {
      const limitMs = serversOf(this.#options).length > 1 ? CONNECT_TIMEOUT_OF_SEVERAL_MS : CONNECT_TIMEOUT_MS;
      const listener = { frame: (text: string) => this.#receive(text), closed: (reason: string) => this.#end(reason) };
      this.#connection = await transport.connect(this.#url, listener, limitMs);
      const resources = await this.#options.resources();
      const address = (await this.#options.findAddress?.()) ?? this.#options.address;
      this.#send(this.#hello(resources, address));
      void this.#watchAddress(address);
      if (resources.cpus === 0) void this.#awaitResources();
      void clock.sleep(WELCOME_TIMEOUT_MS, this.#ended.signal).then(() => {
        if (!this.#welcomed) this.#end("the server does not answer the hello");
      });
      while (!this.#ended.signal.aborted) {
        await clock.sleep(HEARTBEAT_INTERVAL_MS, this.#ended.signal);
        this.#heartbeat();
        this.#tellLinks();
      }
      return { welcomed: this.#welcomed, reason: this.#reason };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const denied = error.code === "denied";
      return {
        welcomed: false,
        denied,
        reason: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      };
    } finally {
      signal.removeEventListener("abort", stop);
      for (const each of stops) each();
      this.#end("the session is over");
      this.#connection?.close();
      this.#channels.closeAll();
      if (state.connected) state.setConnected(false);
    }
  }

  /** The address is told in the hello alone, as the resources are. */
  async #watchAddress(said: HostAddress): Promise<void> {
    const { clock, findAddress } = this.#options;
    while (findAddress !== undefined && !this.#ended.signal.aborted) {
      await clock.sleep(ADDRESS_INTERVAL_MS, this.#ended.signal);
      if (this.#ended.signal.aborted) return;
      const address = await findAddress().catch(onlyAppError);
      if (address !== null && address !== said) this.#end(`this host's address became ${address}`);
    }
  }

  #hello(resources: HostResources, address: HostAddress): AgentMessage {
    this.#toldKeys = this.#options.state.keys;
    const { agentVersion, labels } = this.#options;
    return {
      type: "hello",
      wireMin: WIRE_VERSION_MIN,
      wireMax: WIRE_VERSION,
      agentVersion,
      address,
      labels,
      resources,
      ...this.#toldKeys,
      runId: this.#options.runId,
    };
  }

  #tellKeys(): void {
    const { keys } = this.#options.state;
    if (!this.#welcomed || keys === null || keys === this.#toldKeys) return;
    this.#toldKeys = keys;
    this.#send({ type: "keys", ...keys });
  }

  /** Whoever waits for an address needs a further block now, not with the next heartbeat. */
  #seeAddresses(): void {
    const { addressUse, networkUse } = this.#options.state;
    const all = [addressUse, ...Object.values(networkUse)];
    const waiting = all.reduce((sum, use) => sum + (use?.waiting ?? 0), 0);
    if (waiting > this.#waiting) this.#heartbeat();
    this.#waiting = waiting;
  }

  /** Resources are told in the hello alone: when the engine is back, a new connection tells them. */
  async #awaitResources(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await this.#options.clock.sleep(RESOURCES_AGAIN_MS, this.#ended.signal);
      if (this.#ended.signal.aborted) return;
      if ((await this.#options.resources()).cpus > 0)
        this.#end("the container engine is back: connecting anew to say so");
    }
  }

  #receive(frame: string): void {
    if (this.#ended.signal.aborted) return;
    let message: ServerMessage | null;
    try {
      message = parseServerMessage(frame);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#end(error.message);
      return;
    }
    if (message !== null) this.#take(message);
  }

  #take(message: ServerMessage): void {
    const { state, log } = this.#options;
    switch (message.type) {
      case "open":
        this.#channels.open(message.channel, message.request);
        return;
      case "data":
        this.#channels.input(message.channel, message.bytes);
        return;
      case "resize":
        this.#channels.resize(message.channel, message.columns, message.rows);
        return;
      case "close":
        this.#channels.close(message.channel);
        return;
      case "welcome":
        this.#welcomed = true;
        state.serverUrl = this.#url;
        this.#wire = message.wire;
        state.receive(message);
        // They may have changed between hello and welcome.
        this.#tellKeys();
        log.info("Connected to a server", { server: this.#url, host: message.hostName, wire: message.wire });
        this.#soon();
        this.#heartbeat();
        return;
      case "assignments":
        state.receive(message);
        // From here on, what is missing from the assignments is not wanted.
        if (message.reset && !state.connected) state.setConnected(true);
        return;
      case "refused":
        log.error(message.refusal.text, { hint: message.refusal.hint });
        state.receive(message);
        return;
      case "catalog":
      case "peers":
      case "peer-changes":
      case "network-config":
      case "blocks":
      case "holders":
      case "checks":
      case "consul":
      case "check-report":
        state.receive(message);
        return;
    }
  }

  /** Changes go out together a moment later. */
  #soon(): void {
    if (this.#flushing || !this.#welcomed) return;
    this.#flushing = true;
    void this.#options.clock.sleep(COALESCE_MS, this.#ended.signal).then(() => {
      this.#flushing = false;
      if (!this.#ended.signal.aborted) this.#deltas.flush();
    });
  }

  #heartbeat(): void {
    const { state } = this.#options;
    if (!this.#welcomed || this.#ended.signal.aborted) return;
    this.#send({
      type: "heartbeat",
      appliedRevision: state.appliedRevision(),
      epoch: state.identity?.epoch ?? "",
      conditions: state.conditions(),
      ...(state.addressUse === null ? {} : { addresses: state.addressUse }),
      ...(Object.keys(state.networkUse).length === 0 ? {} : { networks: state.networkUse }),
      ...(state.probeAddress === null ? {} : { probeAddress: state.probeAddress }),
      ...(state.dnsCounts === null ? {} : { dns: state.dnsCounts }),
    });
  }

  #tellLinks(): void {
    const { state, clock } = this.#options;
    if (!this.#welcomed || this.#ended.signal.aborted) return;
    const nowMs = clock.monotonicMs();
    const sinceMs = nowMs - this.#linksMs;
    if (sinceMs < LINKS_INTERVAL_MS) return;
    const before = this.#links ?? [];
    const countedMs = Math.max(COUNTED_INTERVAL_MS, COUNTED_INTERVAL_LINK_MS * state.links.length);
    // Apart from changes: links that are never still would keep the bytes of the others waiting.
    const isDue = nowMs - this.#countedMs >= countedMs;
    const changes = joinLinkChanges(linkChanges(before, state.links), isDue ? countedLinks(before, state.links) : null);
    if (changes === null) return;
    this.#linksMs = nowMs;
    if (isDue) this.#countedMs = nowMs;
    if (this.#links === null || this.#wire < WIRE_OF_CHANGES) {
      this.#links = state.links;
      this.#send({ type: "links", links: state.links });
      return;
    }
    // What was not told is compared with what was, however slowly it moves away from that.
    this.#links = applyLinkChanges(before, changes);
    this.#send({ type: "link-changes", ...changes });
  }

  #send(message: AgentMessage): void {
    if (!this.#ended.signal.aborted) this.#connection?.send(JSON.stringify(message));
  }

  #end(reason: string): void {
    if (this.#ended.signal.aborted) return;
    this.#reason = reason;
    this.#ended.abort();
  }
}

/** What could not be asked now is asked again later. */
function onlyAppError(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
