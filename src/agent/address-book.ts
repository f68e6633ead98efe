/**
 * Who has which address of this host's blocks. Containers of the engine are seen, pass by pass: what they have, or will
 * have when they are started again, is the engine's to know. Other owners (attachments, CNI, endpoints of the engine's
 * plugin) take theirs here and keep them on disk. The engine gives containers of its own addresses of its share of the first
 * block without asking (`splitBlocks`), so owners it does not know get theirs from the rest of that block, and then from
 * further ones, which the server leases when they are needed.
 */
import { z } from "zod";
import { AppError, describeError } from "../model/error.ts";
import { cidrAddress, cidrSize, isIpv4, parseCidr } from "../model/ip.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isFixedBlock } from "../model/lease.ts";
import type { AddressUse } from "../model/lease.ts";
import { chooseAddress, countAddresses, isInBlocks } from "../network/choose-address.ts";
import type { SplitBlocks } from "../network/split-block.ts";
import { isEngines, splitBlocks } from "../network/split-block.ts";
import { freeWanted } from "../network/plan-leases.ts";
import type { Condition } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { AgentState } from "./agent-state.ts";

export interface AddressBookOptions {
  readonly state: AgentState;
  readonly file: StateFile;
  readonly clock: Clock;
  readonly log: Log;
}

/** As Weave had it: by then no cache has the address of the last holder any more. */
export const REST_MS = 30_000;
/** A further block that nobody has used for so long is offered to the server. */
export const QUIET_MS = 600_000;
/** A server leases a block within moments, or will not soon. */
const TAKE_MS_MAX = 3000;
const OWNER_LENGTH_MAX = 512;
const ipv4 = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value), "must be an IPv4 address");

export class AddressBook {
  readonly #options: AddressBookOptions;
  readonly #kept: Map<string, Ipv4>;
  /**
   * What the engine's containers have, from before a restart until they were seen again: an engine that waits for an address
   * from us (its plugin) lists none meanwhile. Null when nothing is known.
   */
  #engine: ReadonlySet<Ipv4> | null = null;
  readonly #held = new Map<string, Ipv4>();
  /** When each was let go, oldest first. */
  readonly #released = new Map<Ipv4, number>();
  readonly #emptySinceMs = new Map<string, number>();
  /** Given up for good: the server may be taking it back at any moment. */
  readonly #offered = new Set<string>();
  #waitingContainers = 0;
  #waitingTakers = 0;
  #told = "[]";
  /** What the disk has of the engine, as text. */
  #remembered: string;
  #saving: Promise<void> = Promise.resolve();

  /** A file that cannot be read is as good as none: owners ask again. @throws AppError when the disk does not answer. */
  static async load(options: AddressBookOptions): Promise<AddressBook> {
    const text = await options.file.read();
    try {
      // A host that was no member before has nothing on the network yet.
      if (text === null)
        return new AddressBook(options, { ...NOTHING, engine: options.state.identity === null ? [] : null });
      return new AddressBook(options, parseBook(text));
    } catch (error) {
      options.log.warn(`Cannot use ${options.file.path}: ${describeError(error)}. Starting without it`);
      return new AddressBook(options);
    }
  }

  constructor(options: AddressBookOptions, { owners, engine, engineRange }: SavedBook = NOTHING) {
    this.#options = options;
    this.#kept = new Map(owners);
    if (engine !== null) this.#engine = new Set(engine);
    if (engineRange !== null) options.state.setEngineRange(engineRange);
    this.#remembered = JSON.stringify([engine, engineRange]);
    options.state.on("identity", () => this.#publish());
  }

  /**
   * An address for `owner`, the same one each time until it is released, also after a restart of the agent: it is on disk
   * when this resolves. Waits a moment for the server to lease a further block.
   *
   * @param wanted that address and no other; it must lie in this host's blocks, outside of the engine's share
   * @throws AppError `unavailable` when none is left, or this host's containers are not known yet; `conflict` when `wanted`
   *   is taken; `invalid` when this host may not hand it out.
   */
  async take(owner: string, wanted?: Ipv4): Promise<Ipv4> {
    if (owner === "" || owner.length > OWNER_LENGTH_MAX)
      throw new AppError("invalid", "Cannot take an address: no owner");
    const kept = this.addressOf(owner);
    if (kept !== null && (wanted === undefined || wanted === kept)) return kept;
    if (kept !== null) {
      throw new AppError("conflict", `Cannot take ${wanted} for "${owner}": it has ${kept}`, {
        hint: "Release it first",
      });
    }
    const address = wanted === undefined ? await this.#awaitChoice(owner) : this.#claim(owner, wanted);
    this.#publish();
    try {
      await this.#save();
    } catch (error) {
      this.#kept.delete(owner);
      this.#publish();
      throw error;
    }
    return address;
  }

  /** Repeatable. The address rests a while before another gets it. @throws AppError when the disk does not answer. */
  async release(owner: string): Promise<void> {
    const address = this.#kept.get(owner);
    if (address === undefined) return;
    this.#kept.delete(owner);
    this.#rest(address);
    this.#publish();
    await this.#save();
  }

  /** Null for an owner that has none in this host's present blocks. */
  addressOf(owner: string): Ipv4 | null {
    const address = this.#kept.get(owner);
    return address !== undefined && isInBlocks(address, this.#blocks()) ? address : null;
  }

  /** Owners that the engine does not know, by name. */
  owners(): ReadonlyMap<string, Ipv4> {
    return this.#kept;
  }

  /** The containers part tells what it sees: addresses of containers, those of jobs under way, and who waits for one. */
  see(engine: ReadonlySet<Ipv4>, held: ReadonlyMap<string, Ipv4>): void {
    const before = this.#engine === null ? [] : [...this.#engine, ...this.#held.values()];
    this.#engine = engine;
    this.#held.clear();
    for (const [owner, address] of held) this.#held.set(owner, address);
    const now = this.used();
    for (const address of before) if (!now.has(address)) this.#rest(address);
    this.#publish();
    this.#remember();
  }

  /** What matters to a next agent before it has seen the engine: only where the engine and we could meet. */
  #remember(): void {
    const { engine, engineRange } = this.#saved();
    const text = JSON.stringify([engine, engineRange]);
    if (text === this.#remembered) return;
    this.#remembered = text;
    this.#save().catch((error: unknown) => {
      this.#remembered = "";
      this.#options.log.warn(`Cannot write ${this.#options.file.path}: ${describeError(error)}`);
    });
  }

  #saved(): SavedBook {
    const { own } = this.#split();
    const engine = this.#engine === null ? null : [...this.#engine].filter((address) => isInBlocks(address, own));
    return { owners: this.#kept, engine: engine?.toSorted() ?? null, engineRange: this.#options.state.engineRange };
  }

  /** Between a plan and the next look it is the job's. */
  hold(owner: string, address: Ipv4): void {
    this.#held.set(owner, address);
  }

  setWaiting(count: number): void {
    if (count === this.#waitingContainers) return;
    this.#waitingContainers = count;
    this.#publish();
  }

  used(): Set<Ipv4> {
    return new Set([...(this.#engine ?? []), ...this.#held.values(), ...this.#kept.values()]);
  }

  /** Blocks to choose from, without those that were offered. */
  openBlocks(): readonly string[] {
    return this.#blocks().filter((block) => !this.#offered.has(block));
  }

  /** Addresses used before, oldest first, and those of them that are to rest. */
  past(): { readonly recent: readonly Ipv4[]; readonly resting: ReadonlySet<Ipv4> } {
    const nowMs = this.#options.clock.monotonicMs();
    const resting = [...this.#released].filter(([, atMs]) => nowMs - atMs < REST_MS).map(([address]) => address);
    return { recent: [...this.#released.keys()], resting: new Set(resting) };
  }

  #blocks(): readonly string[] {
    const { refusal, identity } = this.#options.state;
    return refusal === null ? (identity?.blocks ?? []) : [];
  }

  #rest(address: Ipv4): void {
    this.#released.delete(address);
    this.#released.set(address, this.#options.clock.monotonicMs());
  }

  #claim(owner: string, wanted: Ipv4): Ipv4 {
    const split = this.#split();
    if (!isInBlocks(wanted, split.own) || isReserved(wanted, this.#blocks())) {
      const why = isEngines(wanted, split)
        ? `the container engine hands out ${split.engine} by itself`
        : isInBlocks(wanted, split.own)
          ? "it is the last of this host's first block"
          : "it lies in no block of this host";
      throw new AppError("invalid", `Cannot take ${wanted} for "${owner}": ${why}`, {
        hint: split.own.length === 0 ? "Take any address instead" : `Choose one of ${split.own.join(", ")}`,
      });
    }
    if (!this.used().has(wanted)) {
      this.#kept.set(owner, wanted);
      return wanted;
    }
    const holder = [...this.#kept, ...this.#held].find(([, address]) => address === wanted)?.[0] ?? "a container";
    throw new AppError("conflict", `Cannot take ${wanted} for "${owner}": ${holder} has it`);
  }

  async #awaitChoice(owner: string): Promise<Ipv4> {
    const { state, clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + TAKE_MS_MAX;
    this.#waitingTakers += 1;
    try {
      for (;;) {
        // The same owner may have asked twice; and whatever is chosen is noted before anyone else looks.
        const address = this.addressOf(owner) ?? this.#choose();
        if (address !== null) {
          this.#kept.set(owner, address);
          return address;
        }
        const leftMs = deadlineMs - clock.monotonicMs();
        if (leftMs <= 0 || state.leaseProblem !== null || state.refusal !== null) throw this.#exhausted(owner);
        this.#publish();
        const nap = new AbortController();
        const stops = [state.on("identity", () => nap.abort()), state.on("addresses", () => nap.abort())];
        await clock.sleep(leftMs, nap.signal);
        for (const stop of stops) stop();
      }
    } finally {
      this.#waitingTakers -= 1;
      this.#publish();
    }
  }

  #choose(): Ipv4 | null {
    // What containers have must be known first.
    if (this.#engine === null) return null;
    return this.#chooseOwn(this.used());
  }

  #split(): SplitBlocks {
    const blocks = this.openBlocks().filter((block) => !isFixedBlock(block));
    return splitBlocks(blocks, this.#options.state.engineRange);
  }

  #chooseOwn(used: ReadonlySet<Ipv4>): Ipv4 | null {
    // The chooser keeps the second address of the first block it is given for a gateway; it is not missed.
    const blocks = this.#split().own;
    return chooseAddress({ blocks, engineRange: null, used, ...this.past(), keepShare: false });
  }

  #exhausted(owner: string): AppError {
    const { leaseProblem, refusal, connected } = this.#options.state;
    const why = refusal ?? leaseProblem;
    if (why !== null) return new AppError("unavailable", `Cannot take an address for "${owner}": ${why.text}`, why);
    const text = connected
      ? "the server has leased no further block yet"
      : "no block has room, and no server is connected";
    return new AppError("unavailable", `Cannot take an address for "${owner}": ${text}`, { hint: "Try again" });
  }

  /** Tells the server how it stands, through the state. */
  #publish(): void {
    const { state } = this.#options;
    if (this.#engine === null || state.identity === null) return;
    const used = this.used();
    this.#offerQuiet(used);
    const { total, free } = countAddresses(this.openBlocks(), used);
    const waiting = this.#waitingContainers + this.#waitingTakers;
    // Somebody may have put a container there by hand: then it is not to be taken back, if it is not too late.
    const offered = [...this.#offered].filter((block) => ![...used].some((each) => isInBlocks(each, [block])));
    const use: AddressUse = { blocks: state.identity.blocks, total, free, waiting, offered };
    if (JSON.stringify(use) !== JSON.stringify(state.addressUse)) state.setAddressUse(use);
    this.#tell(used, waiting > 0 ? 0 : free);
  }

  /** What an operator sees while addresses are short. */
  #tell(used: ReadonlySet<Ipv4>, free: number): void {
    const { state } = this.#options;
    const { engine, own } = this.#split();
    const conditions: Condition[] = [];
    const { leaseProblem } = state;
    if (state.refusal !== null) {
      // One reason is enough.
    } else if (free <= 0 && leaseProblem !== null) {
      const text = `No address is left on this host: ${leaseProblem.text}`;
      conditions.push({ code: "addresses-exhausted", severity: "error", text, hint: leaseProblem.hint });
    } else if (engine !== null && own.length > 0 && countAddresses([engine], used).free === 0) {
      const spare = this.#chooseOwn(used);
      const text = `${engine} is full: the engine has no address for containers that are started without --ip`;
      const hint = `docker run --network apollo --ip ${spare ?? "ADDRESS"} …, with an address of ${own.join(", ")}`;
      conditions.push({ code: "first-block-full", severity: "warning", text, hint });
    }
    const told = JSON.stringify(conditions);
    if (told === this.#told) return;
    this.#told = told;
    state.setConditions("addresses", conditions);
  }

  /** One at a time, the last one first, and only when what stays has room to spare. */
  #offerQuiet(used: ReadonlySet<Ipv4>): void {
    const nowMs = this.#options.clock.monotonicMs();
    const blocks = this.#blocks();
    for (const each of this.#offered) if (!blocks.includes(each)) this.#offered.delete(each);
    const further = blocks.slice(1).filter((block) => !isFixedBlock(block));
    for (const block of this.#emptySinceMs.keys()) if (!further.includes(block)) this.#emptySinceMs.delete(block);
    for (const block of further) {
      if ([...used].some((address) => isInBlocks(address, [block]))) this.#emptySinceMs.delete(block);
      else if (!this.#emptySinceMs.has(block)) this.#emptySinceMs.set(block, nowMs);
    }
    if (this.#offered.size > 0 || this.#waitingContainers + this.#waitingTakers > 0) return;
    const quiet = further.findLast((block) => nowMs - (this.#emptySinceMs.get(block) ?? nowMs) >= QUIET_MS);
    if (quiet === undefined) return;
    const rest = countAddresses(
      blocks.filter((block) => block !== quiet),
      used,
    );
    if (rest.free >= 2 * freeWanted(rest.total)) this.#offered.add(quiet);
  }

  /** One write after the other, each with all there is by then. */
  #save(): Promise<void> {
    const saving = this.#saving.then(() => this.#options.file.write(renderBook(this.#saved())));
    this.#saving = saving.catch(() => undefined);
    return saving;
  }
}

/** The broadcast address of the first block, which the engine will not give either. */
function isReserved(address: Ipv4, [first]: readonly string[]): boolean {
  if (first === undefined) return false;
  const block = parseCidr(first);
  return address === cidrAddress(block, cidrSize(block) - 1);
}

/** What is on disk. */
interface SavedBook {
  readonly owners: ReadonlyMap<string, Ipv4>;
  readonly engine: readonly Ipv4[] | null;
  readonly engineRange: string | null;
}

const NOTHING: SavedBook = { owners: new Map(), engine: null, engineRange: null };
const savedShape = z.object({
  owners: z.record(z.string(), ipv4),
  engine: z.array(ipv4).nullable().default(null),
  engineRange: z.string().nullable().default(null),
});

function renderBook({ owners, engine, engineRange }: SavedBook): string {
  const sorted = Object.fromEntries([...owners].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ owners: sorted, engine, engineRange }, null, 2)}\n`;
}

/** @throws Error for anything that an agent did not write. */
function parseBook(text: string): SavedBook {
  const json: unknown = JSON.parse(text);
  // Of before: owners alone.
  const legacy = z.record(z.string(), ipv4).safeParse(json);
  if (legacy.success) return { ...NOTHING, owners: new Map(Object.entries(legacy.data)) };
  const { owners, engine, engineRange } = savedShape.parse(json);
  return { owners: new Map(Object.entries(owners)), engine, engineRange };
}
