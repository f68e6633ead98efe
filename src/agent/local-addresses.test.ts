import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { LocalAddresses } from "./local-addresses.ts";

function bookOver(
  file: MemoryFile,
  change: { readonly blocks?: readonly string[]; readonly inUse?: readonly Ipv4[] } = {},
): LocalAddresses {
  const { blocks = ["10.2.1.0/24"], inUse = [] } = change;
  return new LocalAddresses({ blocks: () => blocks, file, inUse: () => new Set(inUse) });
}

test("take() keeps an owner's address, also over a restart, and does not give a freed one to the next", async () => {
  const clock = new VirtualClock();
  const file = new MemoryFile("addresses.json", clock);
  const book = bookOver(file);
  const first = await clock.settle(book.take("a"));
  expect([first, await clock.settle(book.take("a"))]).toEqual([parseIpv4("10.2.1.130"), first]);
  expect(await clock.settle(bookOver(file).take("a"))).toBe(first);
  await clock.settle(book.release("a"));
  await clock.settle(book.release("a"));
  expect(await clock.settle(book.take("b"))).not.toBe(first);
});

test("take() refuses what is used, not the host's, or special, and says when the block is full", async () => {
  const clock = new VirtualClock();
  const file = new MemoryFile("addresses.json", clock);
  const book = bookOver(file, { blocks: ["10.2.1.0/29"], inUse: [parseIpv4("10.2.1.2")] });
  const code = async (wanted?: string): Promise<string> => {
    try {
      return await clock.settle(book.take(`x${wanted}`, wanted === undefined ? undefined : parseIpv4(wanted)));
    } catch (error) {
      return error instanceof AppError ? error.code : "other";
    }
  };
  expect(await code("10.2.1.2")).toBe("conflict");
  expect(await code("10.2.9.2")).toBe("invalid");
  for (const special of ["10.2.1.0", "10.2.1.1", "10.2.1.7"]) expect(await code(special)).toBe("invalid");
  expect(await code("10.2.1.3")).toBe("10.2.1.3");
  const taken = [];
  for (const owner of ["a", "b", "c"]) taken.push(await clock.settle(book.take(owner)));
  expect(new Set(taken).size).toBe(3);
  expect(await code()).toBe("unavailable");
});

test("no two owners ever hold the same address, whatever comes at the same time", async () => {
  const step = fc.record({ owner: fc.constantFrom("a", "b", "c", "d", "e"), take: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const clock = new VirtualClock();
      const book = bookOver(new MemoryFile("addresses.json", clock), { blocks: ["10.2.1.0/28"] });
      const works = steps.map(({ owner, take }) => (take ? book.take(owner) : book.release(owner)));
      await clock.settle(Promise.all(works));
      const held = [...book.owners().values()];
      expect(new Set(held).size).toBe(held.length);
    }),
    { numRuns: 50 },
  );
});
