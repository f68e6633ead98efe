/**
 * What this machine's etcd holds, read without asking the other members ("serializable"): it answers without a quorum, and may
 * lag behind then. Beside it a look at the office, which only a quorum answers, tells whether anybody leads.
 */
import { AppError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { Replica, ReplicaChange, ReplicaView } from "../ports/replica.ts";
import type { StoreEntry } from "../ports/store.ts";
import type { EtcdEntry, EtcdEvent, EtcdGateway } from "./etcd-gateway.ts";
import { readHolder } from "./office.ts";

export interface EtcdReplicaOptions {
  readonly gateway: EtcdGateway;
  readonly clock: Clock;
  /** Of all keys. */
  readonly prefix: string;
}

const PAGE_ENTRIES = 500;
const AFTER = "\x7f";
const LOOK_EVERY_MS = 500;
const LOOK_AGAIN_MS = 100;
const LOOK_MS_MAX = 1000;
/** A leader that was not heard of for so long is none: its lease has ended. */
const CONTACT_MS_MAX = 2500;

export class EtcdReplica implements Replica {
  readonly #options: EtcdReplicaOptions;
  #leader: string | null = null;
  #heardMs: number;

  constructor(options: EtcdReplicaOptions) {
    this.#options = options;
    this.#heardMs = options.clock.monotonicMs();
  }

  /** Looks who leads, until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS_MAX)]);
      const holder = await readHolder(this.#options, limit).catch(onlyAppError);
      if (holder !== undefined) this.#leader = holder === null ? null : new URL(holder.url).host;
      if (holder !== undefined && holder !== null) this.#heardMs = clock.monotonicMs();
      await clock.sleep(holder === undefined || holder === null ? LOOK_AGAIN_MS : LOOK_EVERY_MS, signal);
    }
  }

  leader(): string | null {
    return this.contactMs() < CONTACT_MS_MAX ? this.#leader : null;
  }

  contactMs(): number {
    return Math.round(this.#options.clock.monotonicMs() - this.#heardMs);
  }

  async open(): Promise<ReplicaView> {
    const { gateway, prefix } = this.#options;
    const asked = { from: prefix, to: prefix + AFTER, limit: 1, revision: 0, serializable: true };
    const { revision } = await gateway.range(asked);
    return new EtcdView(this.#options, revision);
  }
}

class EtcdView implements ReplicaView {
  readonly #gateway: EtcdGateway;
  readonly #prefix: string;
  readonly #revision: number;

  constructor({ gateway, prefix }: EtcdReplicaOptions, revision: number) {
    this.#gateway = gateway;
    this.#prefix = `${prefix}data/`;
    this.#revision = revision;
  }

  async get(key: string): Promise<StoreEntry | null> {
    return (await this.#range(key, `${key}\0`))[0] ?? null;
  }

  list(prefix: string): Promise<readonly StoreEntry[]> {
    return this.#range(prefix, prefix + AFTER);
  }

  async follow(
    prefix: string,
    onCommit: (changes: readonly ReplicaChange[]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const below = this.#prefix + prefix;
    const asked = { from: below, to: below + AFTER, revision: this.#revision + 1 };
    try {
      for await (const events of this.#gateway.watch(asked, signal)) {
        // Several commits may come at once; each is told by itself.
        for (const commit of Map.groupBy(events, ({ revision }) => revision).values())
          onCommit(commit.map((event) => this.#changeOf(event)));
      }
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
    }
  }

  async #range(first: string, end: string): Promise<readonly StoreEntry[]> {
    const found: StoreEntry[] = [];
    const to = this.#prefix + end;
    let from = this.#prefix + first;
    for (;;) {
      const asked = { from, to, limit: PAGE_ENTRIES, revision: this.#revision, serializable: true };
      const page = await this.#gateway.range(asked);
      for (const entry of page.entries) found.push(this.#entryOf(entry));
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return found;
      from = `${last.key}\0`;
    }
  }

  #entryOf({ key, value, modRevision }: EtcdEntry): StoreEntry {
    return { key: key.slice(this.#prefix.length), value: JSON.parse(value) as unknown, revision: modRevision };
  }

  #changeOf({ key, value, before }: EtcdEvent): ReplicaChange {
    const read = (text: string | null): unknown => (text === null ? null : JSON.parse(text));
    return { key: key.slice(this.#prefix.length), value: read(value), before: read(before) };
  }
}

/** Undefined: it is not known. */
function onlyAppError(error: unknown): undefined {
  if (error instanceof AppError) return undefined;
  throw error;
}
