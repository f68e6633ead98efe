/**
 * Who may write: a key of etcd's with a lease. Whoever makes the key holds the office for as long as the lease is renewed. The
 * holder counts the lease's time from before each renewal was asked for, by its own monotonic clock, and stops short of its
 * end: it gives up before etcd can give the office to another one. What it writes is fenced in any case, see `EtcdStore`.
 */
import { AppError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { EtcdGateway } from "./etcd-gateway.ts";

export interface OfficeOptions {
  readonly gateway: EtcdGateway;
  readonly clock: Clock;
  /** Of all keys. */
  readonly prefix: string;
  /** Told to those who look for the holder. Another process with the same name and place is this one's former run. */
  readonly self: OfficeHolder;
}

export interface OfficeHolder {
  readonly name: string;
  readonly url: string;
}

/** Longer than etcd takes to elect a leader of its own, in which no renewal is answered. */
export const LEASE_TTL_S = 2;
const RENEW_EVERY_MS = 400;
/** Clocks of two machines run at slightly different speeds. */
const MARGIN_MS = 200;
/** Without a quorum the lease ends by itself. */
const RESIGN_MS = 1000;
/** How often a free office is looked for. */
const POLL_MS = 150;

/** An office that is held, until `lost` aborts. */
export class Office {
  readonly key: string;
  /** With which the key was made: no later holder has the same. */
  readonly revision: number;
  readonly #lost = new AbortController();
  readonly #lease: string;
  readonly #options: OfficeOptions;
  #untilMs: number;

  constructor(options: OfficeOptions, held: { readonly revision: number; readonly lease: string; untilMs: number }) {
    this.#options = options;
    this.key = keyOf(options.prefix);
    this.revision = held.revision;
    this.#lease = held.lease;
    this.#untilMs = held.untilMs;
    void this.#keep();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether nobody else can hold it at this moment. */
  holds(): boolean {
    return !this.#lost.signal.aborted && this.#options.clock.monotonicMs() < this.#untilMs;
  }

  /** Gives up, whatever the lease says; somebody else may have it once that has ended. */
  abandon(): void {
    this.#lost.abort();
  }

  /** Gives up and frees the office at once. */
  async resign(): Promise<void> {
    this.abandon();
    await this.#options.gateway.revokeLease(this.#lease, AbortSignal.timeout(RESIGN_MS)).catch(onlyAppError);
  }

  async #keep(): Promise<void> {
    const { clock, gateway } = this.#options;
    const { signal } = this.#lost;
    void this.#watchEnd();
    while (!signal.aborted) {
      await clock.sleep(RENEW_EVERY_MS, signal);
      if (signal.aborted) return;
      const askedMs = clock.monotonicMs();
      const renewed = await gateway.renewLease(this.#lease, signal).catch(onlyAppError);
      if (renewed === false) this.abandon();
      if (renewed === true) this.#untilMs = askedMs + LEASE_TTL_S * 1000 - MARGIN_MS;
    }
  }

  /** Beside the renewals, which may hang. */
  async #watchEnd(): Promise<void> {
    const { clock } = this.#options;
    while (this.holds()) await clock.sleep(Math.max(1, this.#untilMs - clock.monotonicMs()), this.#lost.signal);
    this.abandon();
  }
}

/** Waits until the office is free and takes it; null after an abort. */
export async function takeOffice(options: OfficeOptions, signal: AbortSignal): Promise<Office | null> {
  while (!signal.aborted) {
    const office = await tryOffice(options, signal).catch(onlyAppError);
    if (office !== null && signal.aborted) await office.resign();
    else if (office !== null) return office;
    await options.clock.sleep(POLL_MS, signal);
  }
  return null;
}

/** Who has it now, by etcd's word; null when nobody has. @throws AppError `unavailable` without a quorum. */
export async function readHolder(
  { gateway, prefix }: Pick<OfficeOptions, "gateway" | "prefix">,
  signal?: AbortSignal,
): Promise<OfficeHolder | null> {
  const entry = await gateway.get(keyOf(prefix), signal);
  return entry === null ? null : (JSON.parse(entry.value) as OfficeHolder);
}

async function tryOffice(options: OfficeOptions, signal: AbortSignal): Promise<Office | null> {
  const { gateway, clock, prefix, self } = options;
  const key = keyOf(prefix);
  const value = JSON.stringify(self);
  const present = await gateway.get(key, signal);
  if (present !== null) {
    // A former run of this very server: it has ended, since two cannot have one data directory.
    if (present.value === value) {
      const compare = [{ key, of: "CREATE", revision: present.createRevision }] as const;
      await gateway.transact({ compare, writes: [{ kind: "delete", key }] }, signal);
    }
    return null;
  }
  const askedMs = clock.monotonicMs();
  const lease = await gateway.grantLease(LEASE_TTL_S, signal);
  const vacant = [{ key, of: "CREATE", revision: 0 }] as const;
  const taken = await gateway.transact({ compare: vacant, writes: [{ kind: "put", key, value, lease }] }, signal);
  if (taken.succeeded) {
    const untilMs = askedMs + LEASE_TTL_S * 1000 - MARGIN_MS;
    return new Office(options, { revision: taken.revision, lease, untilMs });
  }
  await gateway.revokeLease(lease, signal);
  return null;
}

function keyOf(prefix: string): string {
  return `${prefix}leader`;
}

function onlyAppError(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
