/**
 * Keeps the feed open. A socket that ends is opened again after a wait that doubles from half a second to ten, with a
 * quarter of chance so that many consoles do not come back in the same instant. A browser does not tell why a socket
 * could not be opened, so the session is asked about: a refusal there means signed out, anything else means wait.
 *
 * A server that sends an empty change when nothing happens lets the client notice a dead connection: once such a beat
 * was seen, silence of `SILENCE_MS` counts as lost. Without beats nothing is concluded from silence.
 */
import type { FeedMessage } from "../api/native/shapes.ts";
import type { FeedStore } from "./feed-store.ts";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "live" }
  | { readonly state: "reconnecting"; readonly retryAtMs: number; readonly lostAtMs: number }
  | { readonly state: "signed-out" };

export interface FeedSocket {
  close(): void;
}

export interface FeedClientPorts {
  /** Opens the feed. `onClose` also tells that it could not be opened; both calls may still come after `close`. */
  openSocket(events: { onMessage(data: unknown): void; onClose(): void }): FeedSocket;
  /** Asks the server whether the session is good. */
  checkSession(): Promise<"good" | "refused" | "unreachable">;
  nowMs(): number;
  /** Calls back once after the wait; the result cancels it. */
  after(waitMs: number, run: () => void): () => void;
  /** 0 to 1. */
  random(): number;
}

export const RETRY_FIRST_MS = 500;
export const RETRY_MAX_MS = 10_000;
/** Three beats of ten seconds: one may be late behind a large message. */
export const SILENCE_MS = 30_000;

export class FeedClient {
  readonly #store: FeedStore;
  readonly #ports: FeedClientPorts;
  readonly #listeners = new Set<() => void>();
  #connection: Connection = { state: "connecting" };
  #socket: FeedSocket | null = null;
  #cancelWait: (() => void) | null = null;
  #cancelSilence: (() => void) | null = null;
  #beats = false;
  /** Counts sockets: what an older one still says is not listened to. */
  #turn = 0;
  #attempt = 0;
  #lostAtMs: number | null = null;

  constructor(store: FeedStore, ports: FeedClientPorts) {
    this.#store = store;
    this.#ports = ports;
  }

  readonly connection = (): Connection => this.#connection;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Opens the feed now; also what a person asks for by "Retry now" and after signing in. */
  open(): void {
    this.close();
    this.#beats = false;
    if (this.#connection.state === "signed-out") this.#setConnection({ state: "connecting" });
    const turn = ++this.#turn;
    this.#socket = this.#ports.openSocket({
      onMessage: (data) => {
        if (turn === this.#turn) this.#receive(data);
      },
      onClose: () => {
        if (turn === this.#turn) this.#lost();
      },
    });
  }

  /** Ends the feed without trying again. */
  close(): void {
    this.#cancelWait?.();
    this.#cancelSilence?.();
    this.#cancelWait = null;
    this.#cancelSilence = null;
    this.#turn += 1;
    this.#socket?.close();
    this.#socket = null;
  }

  signOut(): void {
    this.close();
    this.#lostAtMs = null;
    this.#setConnection({ state: "signed-out" });
  }

  #receive(data: unknown): void {
    const message = parseFeedMessage(data);
    if (message === null) return;
    if (!this.#store.apply(message)) {
      this.open();
      return;
    }
    this.#attempt = 0;
    this.#lostAtMs = null;
    if (message.type === "delta" && isBeat(message)) this.#beats = true;
    this.#watchSilence();
    if (this.#connection.state !== "live") this.#setConnection({ state: "live" });
  }

  #watchSilence(): void {
    this.#cancelSilence?.();
    this.#cancelSilence = this.#beats ? this.#ports.after(SILENCE_MS, () => this.#lost()) : null;
  }

  #lost(): void {
    this.close();
    this.#lostAtMs ??= this.#ports.nowMs();
    const waitMs = retryWaitMs(this.#attempt, this.#ports.random());
    this.#attempt += 1;
    const retryAtMs = this.#ports.nowMs() + waitMs;
    this.#setConnection({ state: "reconnecting", retryAtMs, lostAtMs: this.#lostAtMs });
    this.#cancelWait = this.#ports.after(waitMs, () => this.open());
    void this.#ports.checkSession().then((session) => {
      if (session === "refused") this.signOut();
    });
  }

  #setConnection(connection: Connection): void {
    this.#connection = connection;
    for (const listener of this.#listeners) listener();
  }
}

/** Wait before attempt number `attempt` (from 0), with `random` from 0 to 1 as its chance. */
export function retryWaitMs(attempt: number, random: number): number {
  const base = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** attempt);
  return Math.round(base * (0.75 + random / 2));
}

function isBeat(message: Extract<FeedMessage, { type: "delta" }>): boolean {
  return Object.keys(message.put).length === 0 && Object.keys(message.drop).length === 0;
}

/** Null for what is not a feed message: a newer server may send kinds that this page does not know. */
export function parseFeedMessage(data: unknown): FeedMessage | null {
  if (typeof data !== "string") return null;
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || !("type" in value)) return null;
  return value.type === "snapshot" || value.type === "delta" ? (value as FeedMessage) : null;
}
