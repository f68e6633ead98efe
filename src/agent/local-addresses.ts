import { z } from "zod";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrContains, cidrSize, formatCidr, isIpv4, parseCidr } from "../model/ip.ts";
import type { AddressSource } from "../network/address-source.ts";
import { chooseAddress } from "../network/choose-address.ts";
import { Turns } from "../platform/loop/turns.ts";
import type { StateFile } from "../platform/ports/state-file.ts";

export interface LocalAddressesOptions {
  /** This host's blocks. */
  readonly blocks: () => readonly string[];
  readonly file: StateFile;
  /** What is in use by others: the engine's containers. */
  readonly inUse: () => ReadonlySet<Ipv4>;
}

/** As many released addresses are remembered, so that none is given again soon: neighbours' caches still lead there. */
const RECENT_MAX = 256;

const ipv4 = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value));
const shape = z.object({ held: z.record(z.string(), ipv4), recent: z.array(ipv4) });

/** This host's address book in a file of its own. */
export class LocalAddresses implements AddressSource {
  readonly #options: LocalAddressesOptions;
  readonly #turns = new Turns();
  #held: ReadonlyMap<string, Ipv4> | null = null;
  #recent: readonly Ipv4[] = [];

  constructor(options: LocalAddressesOptions) {
    this.#options = options;
  }

  owners(): ReadonlyMap<string, Ipv4> {
    return this.#held ?? new Map();
  }

  take(owner: string, wanted?: Ipv4): Promise<Ipv4> {
    return this.#turns.take(async () => {
      const held = await this.#load();
      const before = held.get(owner);
      if (before !== undefined && (wanted === undefined || wanted === before)) return before;
      const used = new Set([...held.values(), ...this.#options.inUse()]);
      const address = wanted === undefined ? this.#choose(used) : this.#check(wanted, used);
      await this.#write(new Map(held).set(owner, address), this.#recent);
      return address;
    });
  }

  release(owner: string): Promise<void> {
    return this.#turns.take(async () => {
      const held = new Map(await this.#load());
      const address = held.get(owner);
      if (address === undefined) return;
      held.delete(owner);
      await this.#write(held, [...this.#recent.filter((each) => each !== address), address].slice(-RECENT_MAX));
    });
  }

  async #load(): Promise<ReadonlyMap<string, Ipv4>> {
    if (this.#held !== null) return this.#held;
    const { file } = this.#options;
    const text = await file.read();
    if (text === null) return (this.#held = new Map());
    const result = shape.safeParse(readJson(text));
    if (!result.success) {
      throw new AppError("invalid", `Cannot use "${file.path}": it is not a list of addresses`, {
        hint: "Move the file away; attachments get their addresses again",
      });
    }
    this.#recent = result.data.recent;
    return (this.#held = new Map(Object.entries(result.data.held)));
  }

  async #write(held: ReadonlyMap<string, Ipv4>, recent: readonly Ipv4[]): Promise<void> {
    await this.#options.file.write(`${JSON.stringify({ held: Object.fromEntries(held), recent })}\n`);
    this.#held = held;
    this.#recent = recent;
  }

  /** The upper halves of the blocks first: the engine, which chooses by itself, begins below. */
  #choose(used: ReadonlySet<Ipv4>): Ipv4 {
    const blocks = this.#options.blocks();
    for (const block of [...blocks.map(upperHalf), ...blocks]) {
      const address = chooseAddress({ block, used, recent: this.#recent });
      if (address !== null) return address;
    }
    throw new AppError("unavailable", "Cannot find a free address: this host's block is full or not leased yet", {
      hint: "See what is attached: apollo net attachments",
    });
  }

  #check(wanted: Ipv4, used: ReadonlySet<Ipv4>): Ipv4 {
    const block = this.#options.blocks().find((each) => cidrContains(parseCidr(each), wanted));
    const blocks = this.#options.blocks().join(", ");
    if (block === undefined) {
      throw new AppError("invalid", `Cannot use address ${wanted}: it is not in this host's block`, {
        hint: blocks === "" ? "The host has no block yet" : `Choose one in ${blocks}`,
      });
    }
    const cidr = parseCidr(block);
    const special = [0, 1, cidrSize(cidr) - 1].map((index) => cidrAddress(cidr, index));
    if (special.includes(wanted)) {
      throw new AppError("invalid", `Cannot use address ${wanted}: it is the block's network, gateway or last address`);
    }
    if (used.has(wanted)) {
      throw new AppError("conflict", `Cannot use address ${wanted}: it is in use`, {
        hint: "See by what: apollo net attachments, docker network inspect apollo",
      });
    }
    return wanted;
  }
}

function upperHalf(block: string): string {
  const { first, prefix } = parseCidr(block);
  const half = { first: first + cidrSize({ first, prefix }) / 2, prefix: prefix + 1 };
  return formatCidr(half);
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
