import { AppError, describeError } from "../model/error.ts";
import type { AgentAnswer, AgentMessage, ChannelRequest } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine, ExecSession } from "../platform/ports/engine.ts";
import type { AgentState } from "./agent-state.ts";
import { containerName } from "./instance-container.ts";

export interface ChannelsOptions {
  readonly state: AgentState;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly send: (message: AgentMessage) => void;
  /** Bytes that wait to be sent to the server. */
  readonly bufferedBytes: () => number;
}

/** More people than this look at one host's containers only by mistake. */
const CHANNELS_MAX = 64;
/** Small enough that a status report between two pieces is not late on a slow link. */
const PIECE_BYTES_MAX = 32 * 1024;
/** Beyond it the container's output is held back; heartbeats and reports share the connection. */
const BUFFERED_BYTES_MAX = 512 * 1024;
const DRAIN_LOOK_MS = 10;

interface Channel {
  readonly abort: AbortController;
  session: ExecSession | null;
  /** Input that came before the program was started. */
  readonly early: Uint8Array[];
  earlyEnd: boolean;
}

/** The byte streams between a server and this host's containers: logs and exec. They end with the connection. */
export class Channels {
  readonly #options: ChannelsOptions;
  readonly #open = new Map<number, Channel>();

  constructor(options: ChannelsOptions) {
    this.#options = options;
  }

  open(number: number, request: ChannelRequest): void {
    if (this.#open.size >= CHANNELS_MAX) {
      this.#end(number, null, `Cannot open another stream: ${CHANNELS_MAX} are open on this host`);
      return;
    }
    const channel: Channel = { abort: new AbortController(), session: null, early: [], earlyEnd: false };
    this.#open.set(number, channel);
    void this.#serve(number, channel, request);
  }

  /** Input for a program, base64; empty text is its end. */
  input(number: number, base64: string): void {
    const channel = this.#open.get(number);
    if (channel === undefined) return;
    const bytes = Buffer.from(base64, "base64");
    if (channel.session === null) {
      if (bytes.length === 0) channel.earlyEnd = true;
      else channel.early.push(bytes);
    } else if (bytes.length === 0) channel.session.endInput();
    else channel.session.write(bytes);
  }

  resize(number: number, columns: number, rows: number): void {
    // A program that has just ended has no terminal any more.
    this.#open.get(number)?.session?.resize(columns, rows).catch(ignoreAppError);
  }

  close(number: number): void {
    const channel = this.#open.get(number);
    this.#open.delete(number);
    channel?.abort.abort();
    channel?.session?.close();
  }

  closeAll(): void {
    for (const number of this.#open.keys()) this.close(number);
  }

  async #serve(number: number, channel: Channel, request: ChannelRequest): Promise<void> {
    const { signal } = channel.abort;
    const sink = (stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> =>
      this.#deliver({ number, stream, signal }, bytes);
    let exitCode: number | null = null;
    let fault: string | null = null;
    try {
      if (request.kind === "query") return await this.#answer(number, request.question, signal);
      const containerId = await this.#containerOf(request);
      if (request.kind === "logs") await this.#options.engine.logs(containerId, request, sink, signal);
      else exitCode = await this.#exec(channel, { containerId, request }, sink);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      fault = error.message;
    }
    if (signal.aborted) return;
    this.#open.delete(number);
    this.#end(number, exitCode, fault);
  }

  async #answer(number: number, question: unknown, signal: AbortSignal): Promise<void> {
    let answer: AgentAnswer;
    try {
      answer = { ok: true, value: await this.#options.state.queries.ask(question, signal) };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const { code, message, hint } = error;
      answer = { ok: false, code, message, ...(hint === undefined ? {} : { hint }) };
    }
    await this.#deliver({ number, stream: "stdout", signal }, new TextEncoder().encode(JSON.stringify(answer)));
    if (signal.aborted) return;
    this.#open.delete(number);
    this.#end(number, 0, null);
  }

  async #exec(
    channel: Channel,
    target: { readonly containerId: string; readonly request: ChannelRequest & { readonly kind: "exec" } },
    sink: (stream: "stdout" | "stderr", bytes: Uint8Array) => Promise<void>,
  ): Promise<number | null> {
    const { argv, tty, stdin } = target.request;
    const session = await this.#options.engine.exec(target.containerId, { argv, tty, stdin }, sink);
    channel.session = session;
    if (channel.abort.signal.aborted) session.close();
    for (const bytes of channel.early) session.write(bytes);
    if (channel.earlyEnd) session.endInput();
    return session.done;
  }

  async #containerOf({ kind, instanceId }: Exclude<ChannelRequest, { kind: "query" }>): Promise<string> {
    const report = this.#options.state.reports.get(instanceId);
    if (report?.phase === "running") return report.containerId;
    // An instance that failed keeps its container, so that its output can be read.
    const container = await this.#options.engine.inspectContainer(containerName(instanceId));
    if (container === null || (kind === "exec" && container.state !== "running")) {
      throw new AppError("not-found", `Cannot reach instance "${instanceId}": it does not run on this host`);
    }
    return container.id;
  }

  async #deliver(
    to: { readonly number: number; readonly stream: "stdout" | "stderr"; readonly signal: AbortSignal },
    bytes: Uint8Array,
  ): Promise<void> {
    const { send, bufferedBytes, clock } = this.#options;
    for (let at = 0; at < bytes.length; at += PIECE_BYTES_MAX) {
      while (bufferedBytes() > BUFFERED_BYTES_MAX && !to.signal.aborted) await clock.sleep(DRAIN_LOOK_MS, to.signal);
      if (to.signal.aborted) return;
      const piece = Buffer.from(bytes.subarray(at, at + PIECE_BYTES_MAX)).toString("base64");
      send({ type: "data", channel: to.number, stream: to.stream, bytes: piece });
    }
  }

  #end(channel: number, exitCode: number | null, error: string | null): void {
    this.#options.send({ type: "close", channel, exitCode, error });
  }
}

function ignoreAppError(error: unknown): void {
  if (!(error instanceof AppError)) throw new Error(`Unexpected: ${describeError(error)}`, { cause: error });
}
