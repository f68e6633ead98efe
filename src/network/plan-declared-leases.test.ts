import { expect, test } from "bun:test";
import fc from "fast-check";
import type { HostId } from "../model/ids.ts";
import { cidrsOverlap, parseCidr } from "../model/ip.ts";
import type { AddressUse, NetworkBlocks } from "../model/lease.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import type { DeclaredLeaseHost } from "./plan-declared-leases.ts";
import { declaredBlockPrefix, networksAfter, planDeclaredLeases } from "./plan-declared-leases.ts";

const H1 = "h1" as HostId;
const BLUE = parseNetworkObject("network", { name: "blue", range: "10.50.0.0/16", vni: 1000 });

function host(id: string, blocks: readonly string[], use: Partial<AddressUse> | null): DeclaredLeaseHost {
  const networks = blocks.length === 0 ? {} : { blue: blocks };
  const uses = use === null ? null : { blue: { blocks, total: 253, free: 200, waiting: 0, offered: [], ...use } };
  return { id: id as HostId, networks, uses };
}

function words(hosts: readonly DeclaredLeaseHost[], networks = [BLUE]): readonly string[] {
  const { steps } = planDeclaredLeases(networks, hosts);
  return steps.map(({ kind, block, hostId, network }) => `${kind} ${block} ${network} ${hostId}`);
}

test.each([
  ["a host that nobody waits on gets no block", [host("h1", [], null)], []],
  ["who waits gets one", [host("h1", [], { total: 0, free: 0, waiting: 1 })], ["take 10.50.1.0/24 blue h1"]],
  ["another before it runs out", [host("h1", ["10.50.1.0/24"], { free: 9 })], ["take 10.50.2.0/24 blue h1"]],
  [
    "the last one goes back when it is offered, and does not come again",
    [host("h1", ["10.50.1.0/24"], { total: 0, free: 0, offered: ["10.50.1.0/24"] })],
    ["give-back 10.50.1.0/24 blue h1"],
  ],
  [
    "nothing goes back by a report of before",
    [{ ...host("h1", ["10.50.1.0/24", "10.50.2.0/24"], { blocks: ["10.50.1.0/24"], offered: ["10.50.1.0/24"] }) }],
    [],
  ],
] as const)("planDeclaredLeases(): %s", (_, hosts, expected) => {
  expect(words(hosts)).toEqual([...expected]);
});

test("blocks of a network that is not declared any more go back, and a full range is told", () => {
  expect(words([host("h1", ["10.50.1.0/24"], null)], [])).toEqual(["give-back 10.50.1.0/24 blue h1"]);
  const tiny = { ...BLUE, range: "10.50.0.0/29" };
  const { problems } = planDeclaredLeases(
    [tiny],
    [host("h0", ["10.50.0.0/29"], null), host("h1", [], { total: 0, free: 0, waiting: 1 })],
  );
  expect(problems.get(H1)).toMatchObject({ blue: { text: expect.stringContaining('block of network "blue"') } });
});

test("first blocks leave room for sixteen hosts", () => {
  const of = (range: string): number => declaredBlockPrefix({ range });
  expect(["10.0.0.0/8", "10.50.0.0/16", "10.9.0.0/24", "10.9.0.0/28"].map(of)).toEqual([24, 24, 28, 29]);
  expect(declaredBlockPrefix({ range: "10.50.0.0/16", blockPrefix: 20 })).toBe(20);
});

test("whatever hosts say, blocks of a network never overlap, and a second plan has nothing to do", () => {
  const said = fc.record({ waiting: fc.nat(40), free: fc.nat(40), offer: fc.boolean(), silent: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.array(said, { minLength: 4, maxLength: 4 }), { maxLength: 8 }), (rounds) => {
      const network = { ...BLUE, range: "10.50.0.0/24" };
      let held: readonly NetworkBlocks[] = [{}, {}, {}, {}];
      for (const round of rounds) {
        const hosts = round.map(({ waiting, free, offer, silent }, at): DeclaredLeaseHost => {
          const networks = held[at] ?? {};
          const blocks = networks["blue"] ?? [];
          const total = blocks.length * 13;
          const use = { blocks, total, free: Math.min(free, total), waiting, offered: offer ? blocks.slice(-1) : [] };
          return { id: `h${at}` as HostId, networks, uses: silent ? null : { blue: use } };
        });
        const { steps } = planDeclaredLeases([network], hosts);
        held = hosts.map(({ id, networks }) => networksAfter(id, networks, steps));
        const all = held.flatMap(({ blue = [] }) => blue).map(parseCidr);
        for (const [at, block] of all.entries()) {
          expect(cidrsOverlap(block, parseCidr(network.range))).toBe(true);
          for (const other of all.slice(at + 1)) expect(cidrsOverlap(block, other)).toBe(false);
        }
        // What they said was about the blocks of before, so nothing more follows from it.
        const again = hosts.map((each, at) => ({ ...each, networks: held[at] ?? {} }));
        const changed = again.filter(
          ({ networks }, at) => JSON.stringify(networks) !== JSON.stringify(hosts[at]?.networks),
        );
        const { steps: second } = planDeclaredLeases([network], again);
        expect(second.filter(({ hostId }) => changed.some(({ id }) => id === hostId))).toEqual([]);
      }
    }),
  );
});
