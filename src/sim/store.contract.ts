/** What every store must do. Run against the fake and the real adapters, so that the fake cannot drift from them. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import type { Store, StoreChange, StoreWrite } from "../platform/ports/store.ts";

/** A store for one test. */
export interface ContractStore {
  readonly store: Store;
  /** The same data in a new store, after the old one was closed; left out when there is no disk. */
  readonly reopen?: () => Promise<Store>;
  /** Frees what the test used; closes the store if that is still open. */
  readonly cleanUp: () => Promise<void>;
}

const put = (key: string, value: unknown): StoreWrite => ({ kind: "put", key, value });
const del = (key: string): StoreWrite => ({ kind: "delete", key });

export function storeContract(name: string, open: () => Promise<ContractStore>): void {
  const check = (title: string, body: (store: Store, opened: ContractStore) => Promise<void>): void => {
    test(`${name}: ${title}`, async () => {
      const opened = await open();
      try {
        await body(opened.store, opened);
      } finally {
        await opened.cleanUp();
      }
    });
  };
  const keysOf = async (store: Store, prefix: string): Promise<string[]> =>
    (await store.list(prefix)).map(({ key }) => key);

  check("get() gives null for a missing key", async (store) => {
    expect(await store.get("a")).toBeNull();
  });

  check("commit() stores values with the commit's revision", async (store) => {
    const first = await store.commit([put("a", { n: 1, list: [1, "x", null, true] })]);
    const second = await store.commit([put("b", "text"), put("c", null)]);
    expect(first).toBeGreaterThan(0);
    expect(second).toBeGreaterThan(first ?? 0);
    expect(await store.get("a")).toEqual({
      key: "a",
      value: { n: 1, list: [1, "x", null, true] },
      revision: first ?? 0,
    });
    expect(await store.get("b")).toEqual({ key: "b", value: "text", revision: second ?? 0 });
    expect(await store.get("c")).toEqual({ key: "c", value: null, revision: second ?? 0 });
  });

  check("list() gives the keys of a prefix in byte order, and nothing else", async (store) => {
    const keys = ["app/b", "app/B", "app/a/x", "app/a", "app0", "app", "ap", "app/%2Fz", "app/_", "app/~"];
    await store.commit(keys.map((key) => put(key, key)));
    expect(await keysOf(store, "app/")).toEqual(["app/%2Fz", "app/B", "app/_", "app/a", "app/a/x", "app/b", "app/~"]);
    expect(await keysOf(store, "app/_")).toEqual(["app/_"]);
    expect(await keysOf(store, "app/%")).toEqual(["app/%2Fz"]);
    expect(await keysOf(store, "none")).toEqual([]);
    expect((await keysOf(store, "")).length).toBe(keys.length);
  });

  check("list() gives values and revisions", async (store) => {
    const revision = (await store.commit([put("k/1", { a: 1 })])) ?? 0;
    expect(await store.list("k/")).toEqual([{ key: "k/1", value: { a: 1 }, revision }]);
  });

  check("commit() writes all or nothing", async (store) => {
    const revision = (await store.commit([put("a", 1)])) ?? 0;
    expect(await store.commit([put("b", 2), del("a")], [{ key: "a", revision: revision + 7 }])).toBeNull();
    expect(await store.get("b")).toBeNull();
    expect((await store.get("a"))?.value).toBe(1);
    const next = await store.commit([put("b", 2), del("a")], [{ key: "a", revision }]);
    expect(next).toBeGreaterThan(revision);
    expect(await store.get("a")).toBeNull();
    expect((await store.get("b"))?.value).toBe(2);
  });

  check("commit() demands every condition", async (store) => {
    const a = (await store.commit([put("a", 1)])) ?? 0;
    const b = (await store.commit([put("b", 1)])) ?? 0;
    const conditions = [
      { key: "a", revision: a },
      { key: "b", revision: b },
    ];
    expect(await store.commit([put("a", 2)], conditions)).not.toBeNull();
    expect(await store.commit([put("a", 3)], conditions)).toBeNull();
    expect((await store.get("a"))?.value).toBe(2);
  });

  check("condition revision 0 demands that the key is missing", async (store) => {
    const create = (): Promise<number | null> => store.commit([put("a", 1)], [{ key: "a", revision: 0 }]);
    expect(await create()).not.toBeNull();
    expect(await create()).toBeNull();
    await store.commit([del("a")]);
    expect(await create()).not.toBeNull();
  });

  check("a key that was deleted and put again has a new revision", async (store) => {
    const first = (await store.commit([put("a", 1)])) ?? 0;
    await store.commit([del("a")]);
    await store.commit([put("a", 1)]);
    expect(await store.commit([put("a", 2)], [{ key: "a", revision: first }])).toBeNull();
  });

  check("deleting a missing key is fine", async (store) => {
    expect(await store.commit([del("none")])).not.toBeNull();
    expect(await store.get("none")).toBeNull();
  });

  check("one of several commits at once wins a condition", async (store) => {
    const revision = (await store.commit([put("a", 0)])) ?? 0;
    const results = await Promise.all(
      [1, 2, 3, 4].map((value) => store.commit([put("a", value)], [{ key: "a", revision }])),
    );
    expect(results.filter((result) => result !== null).length).toBe(1);
    expect((await store.get("a"))?.value).toBe(results.findIndex((result) => result !== null) + 1);
  });

  check("what is stored is a copy", async (store) => {
    const value = { list: [1] };
    await store.commit([put("a", value)]);
    value.list.push(2);
    expect((await store.get("a"))?.value).toEqual({ list: [1] });
    const read = (await store.get("a"))?.value as { list: number[] };
    read.list.push(3);
    expect((await store.get("a"))?.value).toEqual({ list: [1] });
  });

  check("watch() tells each commit once and in order, until it is ended", async (store) => {
    await store.commit([put("before", 1)]);
    const seen: StoreChange[] = [];
    const end = store.watch((change) => seen.push(change));
    const revisions = [
      await store.commit([put("a", 1), put("b", { x: 2 })]),
      await store.commit([put("a", 9)], [{ key: "a", revision: 999_999 }]),
      await store.commit([del("a")]),
    ];
    end();
    await store.commit([put("after", 1)]);
    expect(revisions[1]).toBeNull();
    expect(seen).toEqual([
      { revision: revisions[0] ?? 0, writes: [put("a", 1), put("b", { x: 2 })] },
      { revision: revisions[2] ?? 0, writes: [del("a")] },
    ]);
  });

  check("a commit has reached watchers when it resolves", async (store) => {
    let seen = 0;
    const end = store.watch(() => {
      seen += 1;
    });
    await store.commit([put("a", 1)]);
    expect(seen).toBe(1);
    end();
  });

  check("watching twice with one function is two watches, each with an end of its own", async (store) => {
    let told = 0;
    const count = (): void => {
      told += 1;
    };
    const [endFirst, endSecond] = [store.watch(count), store.watch(count)];
    await store.commit([put("a", 1)]);
    endFirst();
    await store.commit([put("a", 2)]);
    expect(told).toBe(3);
    endSecond();
  });

  check("keys and values out of bounds are refused, and nothing is written", async (store) => {
    const refused = async (key: string, value: unknown): Promise<void> => {
      const error = await store.commit([put("fine", 1), put(key, value)]).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(AppError);
      expect((error as AppError).code).toBe("invalid");
    };
    await refused("", 1);
    await refused("a\nb", 1);
    await refused("ü", 1);
    await refused("x".repeat(513), 1);
    await refused("big", "x".repeat(1024 * 1024));
    await refused("undefined", undefined);
    expect(await store.get("fine")).toBeNull();
    expect(await store.commit([put("x".repeat(512), "y".repeat(1024 * 1024 - 2))])).not.toBeNull();
  });

  check("a closed store refuses everything", async (store) => {
    await store.close();
    const error = await store.get("a").catch((reason: unknown) => reason);
    expect((error as AppError).code).toBe("unavailable");
  });

  check("data outlives the process", async (store, { reopen }) => {
    if (reopen === undefined) return expect(await store.get("a")).toBeNull();
    const revision = (await store.commit([put("a", { x: 1 }), put("b", 2)])) ?? 0;
    const again = await reopen();
    expect(await again.list("")).toEqual([
      { key: "a", value: { x: 1 }, revision },
      { key: "b", value: 2, revision },
    ]);
    expect(await again.commit([put("a", 3)], [{ key: "a", revision }])).toBeGreaterThan(revision);
    await again.close();
  });

  check("any series of commits gives what a map gives", async (store) => {
    const key = fc.constantFrom("a", "a/b", "a/c", "b", "~");
    const write = fc.oneof(
      fc.record({ kind: fc.constant("put" as const), key, value: fc.jsonValue({ maxDepth: 2 }) }),
      fc.record({ kind: fc.constant("delete" as const), key }),
    );
    const commit = fc.record({
      writes: fc.uniqueArray(write, { selector: (each) => each.key, maxLength: 4 }),
      guard: fc.option(fc.record({ key, stale: fc.boolean() }), { nil: null }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(commit, { maxLength: 12 }), async (commits) => {
        await store.commit((await keysOf(store, "")).map(del));
        const model = new Map<string, { value: unknown; revision: number }>();
        for (const { writes, guard } of commits) {
          const present = guard === null ? 0 : (model.get(guard.key)?.revision ?? 0);
          const conditions = guard === null ? [] : [{ key: guard.key, revision: guard.stale ? present + 1 : present }];
          const revision = await store.commit(writes, conditions);
          expect(revision === null).toBe(guard?.stale === true);
          if (revision === null) continue;
          for (const each of writes) {
            if (each.kind === "delete") model.delete(each.key);
            else model.set(each.key, { value: JSON.parse(JSON.stringify(each.value)), revision });
          }
        }
        const expected = [...model]
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([each, entry]) => ({ key: each, ...entry }));
        expect(await store.list("")).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });
}
