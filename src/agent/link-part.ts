import { AppError } from "../model/error.ts";
import type { HostResources } from "../model/host.ts";
import type { Ipv4 } from "../model/ip.ts";
import { HEARTBEAT_INTERVAL_MS, parseServerMessage, WIRE_VERSION, WIRE_VERSION_MIN } from "../model/wire.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Transport, TransportConnection } from "../platform/ports/transport.ts";
import type { AgentPart, AgentState, Topic } from "./agent-state.ts";
import { Channels } from "./channels.ts";
import { DeltaSender } from "./delta-sender.ts";

export interface LinkPartOptions {
  readonly state: AgentState;
  readonly engine: Engine;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Tried in turn. */
  readonly serverUrls: readonly string[];
  readonly agentVersion: string;
  readonly address: Ipv4;
  readonly labels: Readonly<Record<string, string>>;
  /** What this host has to give; asked anew for each connection. */
  readonly resources: () => Promise<HostResources>;
}

const CONNECT_TIMEOUT_MS = 5000;
/** A server that restarts is back in a second; a thousand hosts must not all knock at the same moment. */
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5000;
/** Changes of one burst (a container starts: report, health, endpoints) go in one frame each. */
const COALESCE_MS = 2;
/** A server that took the connection but not the hello within this time will not. */
const WELCOME_TIMEOUT_MS = 10_000;
/** While the container engine was away at the hello, this often it is asked again for what the host has. */
const RESOURCES_AGAIN_MS = 5000;
const DELTA_TOPICS: readonly Topic[] = ["reports", "local", "holders"];

/** Keeps one stream to a server: what this host sees goes up, what is wanted of it comes down. */
export function createLinkPart(options: LinkPartOptions): AgentPart {
  return { name: "link", run: (signal) => runLink(options, signal) };
}

async function runLink(options: LinkPartOptions, signal: AbortSignal): Promise<void> {
  const { serverUrls, clock, random, log } = options;
  let failures = 0;
  let told = "";
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const url = serverUrls[attempt % serverUrls.length];
    if (url === undefined) throw new Error("Cannot run the link: no server was given");
    const end = await new Session(options, url).run(signal);
    if (signal.aborted) return;
    if (end.welcomed) failures = 0;
    if (end.reason !== told) log.warn(`Connection to server ${url} ended: ${end.reason}`, { hint: end.hint });
    told = end.reason;
    const waitMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** failures) * (0.5 + random.next() / 2);
    failures += 1;
    await clock.sleep(waitMs, signal);
  }
}

interface SessionEnd {
  readonly welcomed: boolean;
  readonly reason: string;
  readonly hint?: string;
}

/** One connection, from hello to its end. */
class Session {
  readonly #options: LinkPartOptions;
  readonly #url: string;
  readonly #ended = new AbortController();
  readonly #channels: Channels;
  readonly #deltas: DeltaSender;
  #connection: TransportConnection | null = null;
  #welcomed = false;
  #reason = "";
  #flushing = false;

  constructor(options: LinkPartOptions, url: string) {
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
    try {
      const listener = { frame: (text: string) => this.#receive(text), closed: (reason: string) => this.#end(reason) };
      this.#connection = await transport.connect(this.#url, listener, CONNECT_TIMEOUT_MS);
      const resources = await this.#options.resources();
      this.#send(this.#hello(resources));
      if (resources.cpus === 0) void this.#awaitResources();
      void clock.sleep(WELCOME_TIMEOUT_MS, this.#ended.signal).then(() => {
        if (!this.#welcomed) this.#end("the server does not answer the hello");
      });
      while (!this.#ended.signal.aborted) {
        await clock.sleep(HEARTBEAT_INTERVAL_MS, this.#ended.signal);
        this.#heartbeat();
      }
      return { welcomed: this.#welcomed, reason: this.#reason };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return { welcomed: false, reason: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
    } finally {
      signal.removeEventListener("abort", stop);
      for (const each of stops) each();
      this.#end("the session is over");
      this.#connection?.close();
      this.#channels.closeAll();
      if (state.connected) state.setConnected(false);
    }
  }

  #hello(resources: HostResources): AgentMessage {
    const { agentVersion, address, labels } = this.#options;
    return {
      type: "hello",
      wireMin: WIRE_VERSION_MIN,
      wireMax: WIRE_VERSION,
      agentVersion,
      address,
      labels,
      resources,
    };
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
        state.receive(message);
        log.info("Connected to a server", { server: this.#url, host: message.hostName, wire: message.wire });
        this.#soon();
        this.#heartbeat();
        return;
      case "assignments":
        state.receive(message);
        // From here on, what is missing from the assignments is not wanted.
        if (message.reset && !state.connected) state.setConnected(true);
        return;
      case "catalog":
      case "peers":
      case "network-config":
      case "holders":
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
    });
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
