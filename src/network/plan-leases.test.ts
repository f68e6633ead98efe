import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrsOverlap, parseCidr, parseIpv4 } from "../model/ip.ts";
import type { AddressUse } from "../model/lease.ts";
import type { LeaseHost, LeaseInput } from "./plan-leases.ts";
import { planLeases } from "./plan-leases.ts";

const H1 = "h1" as HostId;
const H2 = "h2" as HostId;

function use(blocks: readonly string[], change: Partial<AddressUse> = {}): AddressUse {
  return { blocks, total: 13, free: 13, waiting: 0, offered: [], ...change };
}

function host(id: HostId, blocks: readonly string[], change: Partial<AddressUse> | null = {}): LeaseHost {
  return { id, blocks, use: change === null ? null : use(blocks, change) };
}

function input(hosts: readonly LeaseHost[], change: Partial<LeaseInput> = {}): LeaseInput {
  const leases = hosts.flatMap(({ id, blocks }) => blocks.map((block) => ({ block, hostId: id })));
  return { range: "10.2.0.0/16", blockPrefix: 28, hosts, leases, reserved: [], fixed: new Map(), ...change };
}

function words(of: LeaseInput): readonly string[] {
  return planLeases(of).steps.map(({ kind, block, hostId }) => `${kind} ${block} ${hostId}`);
}

const FIRST = "10.2.0.16/28";
const NEXT = "10.2.0.32/28";
const FIXED = parseIpv4("10.2.0.5");

describe("planLeases()", () => {
  const table: readonly [string, LeaseInput, readonly string[]][] = [
    ["leaves a host with room alone", input([host(H1, [FIRST])]), []],
    ["leases another before it runs out", input([host(H1, [FIRST], { free: 7 })]), [`take ${NEXT} h1`]],
    ["as large as all it has", input([host(H1, [FIRST, NEXT], { total: 27, free: 2 })]), ["take 10.2.0.64/27 h1"]],
    ["no larger than /24", input([host(H1, [FIRST], { total: 5000, free: 2 })]), ["take 10.2.1.0/24 h1"]],
    [
      "but of the cluster's size when that is larger",
      input([host(H1, ["10.2.16.0/20"], { total: 4093, free: 2 })], { blockPrefix: 20 }),
      ["take 10.2.32.0/20 h1"],
    ],
    ["enough for those who wait", input([host(H1, [FIRST], { free: 0, waiting: 100 })]), ["take 10.2.0.128/25 h1"]],
    [
      "what is smaller when nothing large is left",
      input([host(H1, [FIRST], { total: 200, free: 2 })], { range: "10.2.0.0/26" }),
      [`take ${NEXT.replace("/28", "/27")} h1`],
    ],
    [
      "nothing on a report from before the last lease",
      input([{ id: H1, blocks: [FIRST, NEXT], use: use([FIRST], { free: 1 }) }]),
      [],
    ],
    ["takes an offered block back", input([host(H1, [FIRST, NEXT], { offered: [NEXT] })]), [`give-back ${NEXT} h1`]],
    ["never the first one", input([host(H1, [FIRST, NEXT], { offered: [FIRST] })]), []],
    [
      "reclaims the blocks of hosts that are gone",
      input([], { leases: [{ block: FIRST, hostId: H2 }] }),
      [`give-back ${FIRST} h2`],
    ],
    [
      "leases a fixed address to its instance's host",
      input([host(H1, [FIRST])], { fixed: new Map([[FIXED, H1]]) }),
      ["take 10.2.0.5/32 h1"],
    ],
    [
      "moves it with the instance",
      input([host(H1, [FIRST, "10.2.0.5/32"]), host(H2, [NEXT])], { fixed: new Map([[FIXED, H2]]) }),
      ["give-back 10.2.0.5/32 h1", "take 10.2.0.5/32 h2"],
    ],
    [
      "takes it back from an instance that is gone",
      input([host(H1, [FIRST, "10.2.0.5/32"])]),
      ["give-back 10.2.0.5/32 h1"],
    ],
    [
      "leases no block over a declared address",
      input([host(H1, [FIRST], { free: 1 })], { reserved: [parseIpv4("10.2.0.40")] }),
      ["take 10.2.0.48/28 h1"],
    ],
  ];
  for (const [what, of, wanted] of table) test(what, () => expect(words(of)).toEqual(wanted));

  test("says what is wrong when nothing is left, and when a block is over a fixed address", () => {
    const full = planLeases(input([host(H1, [FIRST], { free: 0 })], { range: "10.2.0.16/28" }));
    expect(full.steps).toEqual([]);
    expect(full.problems.get(H1)?.text).toContain("no address of 10.2.0.16/28 is left");
    const covered = planLeases(input([host(H1, [FIRST])], { fixed: new Map([[parseIpv4("10.2.0.20"), H1]]) }));
    expect(covered.problems.get(H1)?.text).toContain(`10.2.0.20: it lies in block ${FIRST}`);
  });

  test("over any history no two hosts hold overlapping blocks, first blocks stay, and a plan that was applied is done", () => {
    const event = fc.record({
      kind: fc.constantFrom("join", "leave", "short", "offer", "place", "unplace", "silent"),
      host: fc.nat({ max: 5 }),
      amount: fc.nat({ max: 300 }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), fc.constantFrom(24, 28, 29), (events, blockPrefix) => {
        const world = new LeaseWorld(blockPrefix);
        for (const each of events) world.happen(each);
      }),
      { numRuns: 200 },
    );
  });
});

/** Applies plans as the server does, and checks what must hold after each. */
class LeaseWorld {
  readonly #blockPrefix: number;
  readonly #hosts = new Map<HostId, { blocks: readonly string[]; use: AddressUse | null }>();
  readonly #leases = new Map<string, { readonly hostId: HostId; readonly epoch: number }>();
  readonly #fixed = new Map<Ipv4, HostId>();
  #joins = 0;
  #epoch = 0;

  constructor(blockPrefix: number) {
    this.#blockPrefix = blockPrefix;
  }

  happen({ kind, host: at, amount }: { readonly kind: string; readonly host: number; readonly amount: number }): void {
    const id = [...this.#hosts.keys()][at];
    const known = id === undefined ? undefined : this.#hosts.get(id);
    if (kind === "join") {
      const next = `h${this.#joins++}` as HostId;
      this.#hosts.set(next, { blocks: [], use: use([], { total: 0, free: 0, waiting: 1 }) });
    } else if (id !== undefined && known !== undefined) {
      const { blocks } = known;
      const last = blocks.at(-1) ?? "";
      if (kind === "leave") this.#hosts.delete(id);
      if (kind === "leave") for (const [address, on] of this.#fixed) if (on === id) this.#fixed.delete(address);
      if (kind === "short") known.use = use(blocks, { total: amount, free: 0, waiting: amount });
      if (kind === "offer") known.use = use(blocks, { offered: [last] });
      if (kind === "silent") known.use = null;
      if (kind === "place") this.#fixed.set(parseIpv4(`10.2.0.${(amount % 14) + 1}`), id);
      if (kind === "unplace") this.#fixed.delete(parseIpv4(`10.2.0.${(amount % 14) + 1}`));
    }
    this.#settle();
  }

  #input(): LeaseInput {
    const hosts = [...this.#hosts].map(([id, { blocks, use: said }]) => ({ id, blocks, use: said }));
    const leases = [...this.#leases].map(([block, { hostId }]) => ({ block, hostId }));
    const settings = { range: "10.2.0.0/22", blockPrefix: this.#blockPrefix };
    return { ...settings, hosts, leases, reserved: [], fixed: this.#fixed };
  }

  #settle(): void {
    const firsts = new Map([...this.#hosts].map(([id, { blocks }]) => [id, blocks[0]]));
    for (const { kind, block, hostId } of planLeases(this.#input()).steps) {
      const holder = this.#hosts.get(hostId);
      if (kind === "give-back") {
        expect(this.#leases.get(block)?.hostId).toBe(hostId);
        this.#leases.delete(block);
        if (holder !== undefined) holder.blocks = holder.blocks.filter((each) => each !== block);
      } else {
        for (const [other] of this.#leases)
          expect([other, cidrsOverlap(parseCidr(other), parseCidr(block))]).toEqual([other, false]);
        this.#leases.set(block, { hostId, epoch: ++this.#epoch });
        if (holder !== undefined) holder.blocks = [...holder.blocks, block];
      }
    }
    for (const [id, { blocks }] of this.#hosts) {
      const first = firsts.get(id);
      if (first !== undefined && !first.endsWith("/32")) expect(blocks[0]).toBe(first);
    }
    expect(planLeases(this.#input()).steps).toEqual([]);
  }
}
