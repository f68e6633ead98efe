/**
 * Who has which address of this host's blocks of declared networks. Nobody but us hands those out (the engine's networks of
 * them have our IPAM driver), so this is all there is to know. A block is asked for when the first owner comes, and offered
 * back when the last one is gone for a while.
 */
import { z } from "zod";
import { AppError, describeError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4 } from "../model/ip.ts";
import type { AddressUse } from "../model/lease.ts";
import { chooseAddress, countAddresses, isInBlocks } from "../network/choose-address.ts";
import type { DeclaredNetwork } from "../network/declared-network.ts";
import { carriedNetworks, declaredGateway } from "../network/declared-network.ts";
import { isRangeEnd } from "../network/split-block.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { AgentState } from "./agent-state.ts";

export interface NetworkBookOptions {
  readonly state: AgentState;
  readonly file: StateFile;
  readonly clock: Clock;
  readonly log: Log;
}

/** A server leases a block within moments, or will not soon; an engine that asks waits with its locks held. */
const TAKE_MS_MAX = 3000;
/** By then no cache has the address of the last holder any more. */
const REST_MS = 30_000;
/** A block that nobody uses is offered after this: soon, so that a network which nobody is on can be deleted. */
const QUIET_MS = 30_000;

const ipv4 = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value));
const savedShape = z.record(z.string(), z.record(z.string(), ipv4));

interface Page {
  readonly owners: Map<string, Ipv4>;
  /** When each was let go, oldest first. */
  readonly released: Map<Ipv4, number>;
  readonly emptySinceMs: Map<string, number>;
  readonly offered: Set<string>;
  waiting: number;
}

export class NetworkBook {
  readonly #options: NetworkBookOptions;
  readonly #pages = new Map<string, Page>();
  #saving: Promise<void> = Promise.resolve();

  /** A file that cannot be read is as good as none. @throws AppError when the disk does not answer. */
  static async load(options: NetworkBookOptions): Promise<NetworkBook> {
    const book = new NetworkBook(options);
    const text = await options.file.read();
    try {
      const saved = text === null ? {} : savedShape.parse(JSON.parse(text));
      for (const [network, owners] of Object.entries(saved)) {
        for (const [owner, address] of Object.entries(owners)) book.#page(network).owners.set(owner, address);
      }
    } catch (error) {
      options.log.warn(`Cannot use ${options.file.path}: ${describeError(error)}. Starting without it`);
    }
    return book;
  }

  constructor(options: NetworkBookOptions) {
    this.#options = options;
    options.state.on("identity", () => this.publish());
    options.state.on("network-config", () => this.publish());
  }

  /** As `AddressBook.take`. @throws AppError `not-found` for a network that is not declared, and as that. */
  async take(network: string, owner: string, wanted?: Ipv4): Promise<Ipv4> {
    const declared = this.#declared(network);
    const page = this.#page(network);
    const kept = page.owners.get(owner);
    if (kept !== undefined && (wanted === undefined || wanted === kept)) return kept;
    if (kept !== undefined) {
      throw new AppError("conflict", `Cannot take ${wanted} for "${owner}": it has ${kept}`, {
        hint: "Release it first",
      });
    }
    const address = await this.#awaitAddress({ declared, page, owner, wanted });
    this.publish();
    try {
      await this.#save();
    } catch (error) {
      page.owners.delete(owner);
      this.publish();
      throw error;
    }
    return address;
  }

  /** Repeatable. @throws AppError when the disk does not answer. */
  async release(owner: string): Promise<void> {
    let found = false;
    for (const page of this.#pages.values()) {
      const address = page.owners.get(owner);
      if (address === undefined) continue;
      found = page.owners.delete(owner);
      page.released.delete(address);
      page.released.set(address, this.#options.clock.monotonicMs());
    }
    if (!found) return;
    this.publish();
    await this.#save();
  }

  /** Of all declared networks: an owner has one address. */
  owners(): ReadonlyMap<string, Ipv4> {
    return new Map([...this.#pages.values()].flatMap(({ owners }) => [...owners]));
  }

  /** Tells the server how it stands, through the state. */
  publish(): void {
    const { state } = this.#options;
    if (state.identity === null) return;
    const uses: Record<string, AddressUse> = {};
    for (const { name } of carriedNetworks(state.networkConfig.networks)) {
      const page = this.#page(name);
      const blocks = this.#blocks(name);
      this.#offerQuiet(page, blocks);
      if (blocks.length === 0 && page.waiting === 0) continue;
      const open = blocks.filter((block) => !page.offered.has(block));
      const { total, free } = countAddresses(open, new Set(page.owners.values()));
      uses[name] = { blocks, total, free, waiting: page.waiting, offered: [...page.offered].toSorted() };
    }
    state.setNetworkUse(uses);
  }

  async #awaitAddress(wish: {
    readonly declared: DeclaredNetwork;
    readonly page: Page;
    readonly owner: string;
    readonly wanted: Ipv4 | undefined;
  }): Promise<Ipv4> {
    const { state, clock } = this.#options;
    const { declared, page, owner, wanted } = wish;
    const deadlineMs = clock.monotonicMs() + TAKE_MS_MAX;
    page.waiting += 1;
    try {
      for (;;) {
        const address = page.owners.get(owner) ?? this.#choose(declared, page, wanted);
        if (address !== null) {
          page.owners.set(owner, address);
          return address;
        }
        const problem = state.networkProblems[declared.name] ?? state.refusal;
        const leftMs = deadlineMs - clock.monotonicMs();
        if (leftMs <= 0 || (problem ?? null) !== null)
          throw exhausted(declared, wish, { problem, connected: state.connected });
        this.publish();
        const nap = new AbortController();
        const stops = (["identity", "addresses"] as const).map((topic) => state.on(topic, () => nap.abort()));
        await clock.sleep(leftMs, nap.signal);
        for (const stop of stops) stop();
      }
    } finally {
      page.waiting -= 1;
      this.publish();
    }
  }

  /** Null while this host has no block with room. @throws AppError for a wish that can never be met. */
  #choose(declared: DeclaredNetwork, page: Page, wanted: Ipv4 | undefined): Ipv4 | null {
    const open = this.#blocks(declared.name).filter((block) => !page.offered.has(block));
    const gateway = declaredGateway(declared.range);
    const used = new Set([...page.owners.values(), gateway]);
    if (wanted === undefined) {
      const nowMs = this.#options.clock.monotonicMs();
      const recent = [...page.released.keys()];
      const resting = new Set(recent.filter((address) => nowMs - (page.released.get(address) ?? 0) < REST_MS));
      return chooseAddress({ blocks: open, engineRange: null, used, recent, resting, keepShare: false });
    }
    if (open.length === 0) return null;
    if (used.has(wanted)) {
      const holder = [...page.owners].find(([, address]) => address === wanted)?.[0] ?? "the gateway";
      throw new AppError("conflict", `Cannot take ${wanted}: ${holder} has it`);
    }
    if (isInBlocks(wanted, open) && !isRangeEnd(wanted, declared.range)) return wanted;
    throw new AppError(
      "invalid",
      `Cannot take ${wanted}: it is not this host's to give in network "${declared.name}"`,
      {
        hint: `Choose one of ${open.join(", ")}`,
      },
    );
  }

  #declared(network: string): DeclaredNetwork {
    const { state } = this.#options;
    const found = carriedNetworks(state.networkConfig.networks).find(({ name }) => name === network);
    if (found !== undefined) return found;
    throw new AppError("not-found", `Cannot take an address: there is no network "${network}"`, {
      hint: "apollo network list",
    });
  }

  #blocks(network: string): readonly string[] {
    const { refusal, identity } = this.#options.state;
    return refusal === null ? (identity?.networks?.[network] ?? []) : [];
  }

  #offerQuiet(page: Page, blocks: readonly string[]): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const block of page.offered) if (!blocks.includes(block)) page.offered.delete(block);
    for (const block of page.emptySinceMs.keys()) if (!blocks.includes(block)) page.emptySinceMs.delete(block);
    for (const block of blocks) {
      if ([...page.owners.values()].some((address) => isInBlocks(address, [block]))) page.emptySinceMs.delete(block);
      else if (!page.emptySinceMs.has(block)) page.emptySinceMs.set(block, nowMs);
    }
    if (page.waiting > 0 || page.owners.size > 0) return;
    for (const [block, sinceMs] of page.emptySinceMs) if (nowMs - sinceMs >= QUIET_MS) page.offered.add(block);
  }

  #page(network: string): Page {
    const page = this.#pages.get(network) ?? {
      owners: new Map<string, Ipv4>(),
      released: new Map<Ipv4, number>(),
      emptySinceMs: new Map<string, number>(),
      offered: new Set<string>(),
      waiting: 0,
    };
    this.#pages.set(network, page);
    return page;
  }

  /** One write after the other, each with all there is by then. */
  #save(): Promise<void> {
    const saving = this.#saving.then(() => {
      const pages = [...this.#pages].filter(([, { owners }]) => owners.size > 0);
      const saved = Object.fromEntries(pages.map(([network, { owners }]) => [network, Object.fromEntries(owners)]));
      return this.#options.file.write(`${JSON.stringify(saved, null, 2)}\n`);
    });
    this.#saving = saving.catch(() => undefined);
    return saving;
  }
}

function exhausted(
  { name }: DeclaredNetwork,
  { owner, wanted }: { readonly owner: string; readonly wanted: Ipv4 | undefined },
  {
    problem,
    connected,
  }: { readonly problem: { readonly text: string; readonly hint: string } | null; readonly connected: boolean },
): AppError {
  const what = `Cannot take ${wanted ?? "an address"} of network "${name}" for "${owner}"`;
  if (problem !== null) return new AppError("unavailable", `${what}: ${problem.text}`, { hint: problem.hint });
  const why = connected
    ? "the server has leased no block yet"
    : "this host has no block of it, and no server is connected";
  return new AppError("unavailable", `${what}: ${why}`, { hint: "Try again" });
}
