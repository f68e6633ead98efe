/**
 * Streams of frames between named nodes, as WebSockets over a network that fails. A stream keeps its order and loses
 * nothing while it lives: what a real network drops, TCP sends again, so loss shows as delay. A cut direction holds frames
 * back; they arrive when it is mended, unless the stream broke before, which each end learns by itself and late.
 */
import { AppError } from "../model/error.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { VirtualClock } from "./virtual-clock.ts";

export interface FrameStream {
  readonly peer: string;
  /** Dropped in silence when the stream is closed, as a socket's. */
  send(frame: string): void;
  close(): void;
  onFrame: (frame: string) => void;
  /** Called once, however it ended. */
  onClose: () => void;
}

export interface FakeTransportOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  /** Time of a frame on its way, drawn for each. */
  readonly delayMsMin?: number;
  readonly delayMsMax?: number;
  /** A frame that waits longer than this breaks the stream: TCP gives up, or a keep-alive does. */
  readonly breakAfterMs?: number;
}

const BREAK_AFTER_MS = 8000;
const RESET_RETRY_MS = 500;

export class FakeTransport {
  readonly #clock: VirtualClock;
  readonly #random: SeededRandom;
  readonly #delayMs: readonly [number, number];
  readonly #breakAfterMs: number;
  readonly #listeners = new Map<string, (stream: FrameStream) => void>();
  readonly #streams = new Set<StreamEnd>();
  readonly #cuts = new Set<string>();

  constructor({ clock, random, delayMsMin = 0.2, delayMsMax = 5, breakAfterMs = BREAK_AFTER_MS }: FakeTransportOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#delayMs = [delayMsMin, delayMsMax];
    this.#breakAfterMs = breakAfterMs;
  }

  /** Accepts streams for `node`; one listener a node. Returns what ends it; streams that are open stay open. */
  listen(node: string, onStream: (stream: FrameStream) => void): () => void {
    if (this.#listeners.has(node)) throw new Error(`Cannot listen as "${node}": it listens already`);
    this.#listeners.set(node, onStream);
    return () => this.#listeners.delete(node);
  }

  /** @throws AppError `unavailable` when nobody listens or the way is cut. */
  async connect(from: string, to: string): Promise<FrameStream> {
    await this.#clock.sleep(this.delay() * 3);
    if (this.isCut(from, to) || this.isCut(to, from)) {
      await this.#clock.sleep(1000);
      throw new AppError("unavailable", `Cannot connect to "${to}": no answer`);
    }
    const accept = this.#listeners.get(to);
    if (accept === undefined) throw new AppError("unavailable", `Cannot connect to "${to}": connection refused`);
    const near = new StreamEnd(this, from, to);
    const far = new StreamEnd(this, to, from);
    near.join(far);
    far.join(near);
    this.#streams.add(near).add(far);
    accept(far);
    return near;
  }

  /** Nothing gets from `from` to `to` any more; the other way still works. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
    // One end sends all the while, so it notices; here both are told, at times of their own.
    for (const end of this.#between(from, to)) {
      this.#clock.after(this.#breakAfterMs * (0.7 + 0.6 * this.#random.next()), () => {
        if (this.isCut(from, to)) end.end();
      });
    }
  }

  /** Cuts both ways. */
  partition(a: string, b: string): void {
    this.cut(a, b);
    this.cut(b, a);
  }

  /** Mends all cuts between two nodes; frames that waited are delivered in order. */
  mend(a: string, b: string): void {
    this.#cuts.delete(`${a}>${b}`);
    this.#cuts.delete(`${b}>${a}`);
    for (const end of this.#between(a, b)) end.flush();
  }

  mendAll(): void {
    this.#cuts.clear();
    for (const end of this.#streams) end.flush();
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  /** The node's process or machine ends: its streams are gone for it at once, its peers learn by and by. */
  crash(node: string): void {
    for (const end of this.#streams) if (end.owner === node) end.vanish();
  }

  delay(): number {
    const [min, max] = this.#delayMs;
    return min + (max - min) * this.#random.next() ** 3;
  }

  forget(end: StreamEnd): void {
    this.#streams.delete(end);
  }

  after(ms: number, run: () => void): void {
    this.#clock.after(ms, run);
  }

  nowMs(): number {
    return this.#clock.monotonicMs();
  }

  #between(a: string, b: string): StreamEnd[] {
    return [...this.#streams].filter(
      (end) => (end.owner === a && end.peer === b) || (end.owner === b && end.peer === a),
    );
  }
}

class StreamEnd implements FrameStream {
  readonly owner: string;
  readonly peer: string;
  onFrame: (frame: string) => void = () => {};
  onClose: () => void = () => {};
  readonly #transport: FakeTransport;
  #other: StreamEnd | null = null;
  #open = true;
  /** Frames on their way from here, first sent first. */
  #waiting: string[] = [];
  #lastArrivalMs = 0;

  constructor(transport: FakeTransport, owner: string, peer: string) {
    this.#transport = transport;
    this.owner = owner;
    this.peer = peer;
  }

  join(other: StreamEnd): void {
    this.#other = other;
  }

  send(frame: string): void {
    if (!this.#open) return;
    this.#waiting.push(frame);
    this.#schedule();
  }

  close(): void {
    if (!this.#open) return;
    const other = this.#other;
    this.end();
    this.#transport.after(this.#transport.delay(), () => other?.end());
  }

  /** This end learns that the stream is over. */
  end(): void {
    if (!this.#open) return;
    this.vanish();
    this.onClose();
  }

  /** Over without a word to its owner, who is dead. The other end learns when it next hears nothing for long. */
  vanish(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#waiting = [];
    this.#transport.forget(this);
    const other = this.#other;
    this.#transport.after(5 * this.#transport.delay() + 200, () => {
      if (!this.#transport.isCut(this.owner, this.peer)) other?.end();
    });
  }

  /** Sends on what a cut held back. */
  flush(): void {
    for (let left = this.#waiting.length; left > 0; left -= 1) this.#schedule();
  }

  #schedule(): void {
    // Never before the frame that was sent earlier.
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, this.#transport.nowMs() + this.#transport.delay());
    this.#transport.after(this.#lastArrivalMs - this.#transport.nowMs(), () => this.#deliver());
  }

  #deliver(): void {
    if (!this.#open || this.#transport.isCut(this.owner, this.peer)) return;
    const frame = this.#waiting.shift();
    if (frame === undefined || this.#other?.take(frame) === true) return;
    // The other end is over and its word got lost: a frame to it is answered by a reset, as soon as one can come back.
    this.#reset();
  }

  #reset(): void {
    if (!this.#open) return;
    if (this.#transport.isCut(this.peer, this.owner)) this.#transport.after(RESET_RETRY_MS, () => this.#reset());
    else this.end();
  }

  /** False when this end is over. */
  take(frame: string): boolean {
    if (this.#open) this.onFrame(frame);
    return this.#open;
  }
}
