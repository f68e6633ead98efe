import { expect, test } from "bun:test";
import fc from "fast-check";
import { ALL_PAIRS_HOSTS_MAX, ONE_HOST_PEERS_MAX, choosePairs } from "./choose-pairs.ts";
import type { DoctorHost } from "./doctor-facts.ts";

function hosts(count: number): readonly DoctorHost[] {
  return Array.from({ length: count }, (_, at) => ({
    name: `h${String(at).padStart(4, "0")}`,
    address: `192.0.2.${at % 250}`,
    agentVersion: null,
  }));
}

test("choosePairs() of few hosts is every pair, both ways; of none and one it is none", () => {
  const pairs = choosePairs(hosts(ALL_PAIRS_HOSTS_MAX), null);
  expect([...pairs.values()].every((peers) => peers.length === ALL_PAIRS_HOSTS_MAX - 1)).toBe(true);
  expect(choosePairs([], null).size).toBe(0);
  expect([...choosePairs(hosts(1), null).values()]).toEqual([[]]);
});

test("choosePairs() of a thousand hosts is some twenty peers each", () => {
  const sizes = [...choosePairs(hosts(1000), null).values()].map((peers) => peers.length);
  expect([Math.min(...sizes), Math.max(...sizes)]).toEqual([20, 20]);
});

test("choosePairs() is the same both ways and never a host with itself, whatever the order of hosts", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 200 }), fc.boolean(), (count, backwards) => {
      const all = hosts(count);
      const pairs = choosePairs(backwards ? all.toReversed() : all, null);
      expect(pairs).toEqual(choosePairs(all, null));
      for (const [host, peers] of pairs) {
        expect(peers.some(({ name }) => name === host)).toBe(false);
        for (const { name } of peers) expect(pairs.get(name)?.some((each) => each.name === host)).toBe(true);
      }
    }),
    { numRuns: 20 },
  );
});

test("choosePairs() with one host is its pairs alone, of many spread evenly", () => {
  const few = choosePairs(hosts(3), "h0001");
  expect([...few].map(([host, peers]) => `${host}: ${peers.map(({ name }) => name).join(" ")}`)).toEqual([
    "h0001: h0000 h0002",
    "h0000: h0001",
    "h0002: h0001",
  ]);
  const peers = choosePairs(hosts(1000), "h0500").get("h0500") ?? [];
  expect(peers).toHaveLength(ONE_HOST_PEERS_MAX);
  expect(peers.some(({ name }) => name > "h0950")).toBe(true);
  expect(choosePairs(hosts(3), "nobody").size).toBe(0);
});
