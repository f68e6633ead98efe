import { afterEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../../model/error.ts";
import type { StoreChange } from "../ports/store.ts";
import { SqliteStore } from "./sqlite-store.ts";

const directories: string[] = [];
const stores: SqliteStore[] = [];

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "apollo-sqlite-"));
  directories.push(made);
  return made;
}

function open(path: string, options?: { pagesMax: number }): SqliteStore {
  const store = SqliteStore.open(path, options);
  stores.push(store);
  return store;
}

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true });
});

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "no error";
  } catch (error) {
    return error instanceof AppError ? error.code : `not an AppError: ${String(error)}`;
  }
}

test("commit() applies all writes or none", async () => {
  const store = open(join(directory(), "a.db"));
  expect(await store.commit([{ kind: "put", key: "a", value: { n: 1 } }])).toBe(1);
  const refused = await store.commit(
    [
      { kind: "put", key: "b", value: 2 },
      { kind: "delete", key: "a" },
    ],
    [{ key: "a", revision: 7 }],
  );
  expect(refused).toBeNull();
  expect(await store.list("")).toEqual([{ key: "a", value: { n: 1 }, revision: 1 }]);
});

test("commit() with revision 0 demands absence; deletes free the key again", async () => {
  const store = open(join(directory(), "a.db"));
  const absent = [{ key: "k", revision: 0 }];
  expect(await store.commit([{ kind: "put", key: "k", value: 1 }], absent)).toBe(1);
  expect(await store.commit([{ kind: "put", key: "k", value: 2 }], absent)).toBeNull();
  expect(await store.commit([{ kind: "delete", key: "k" }], [{ key: "k", revision: 1 }])).toBe(2);
  expect(await store.commit([{ kind: "put", key: "k", value: 3 }], absent)).toBe(3);
});

test("commit() in one turn: one of two racing compare-and-swaps wins, order is kept", async () => {
  const store = open(join(directory(), "a.db"));
  const absent = [{ key: "k", revision: 0 }];
  const race = [1, 2, 3].map((value) => store.commit([{ kind: "put", key: "k", value }], absent));
  expect(await Promise.all(race)).toEqual([1, null, null]);
  expect((await store.get("k"))?.value).toBe(1);
});

test("list() takes a prefix literally and sorts by key", async () => {
  const store = open(join(directory(), "a.db"));
  for (const key of ["host/b", "host/a", "host", "hosts/a", "host/%", "host/~", "hosu"]) {
    await store.commit([{ kind: "put", key, value: null }]);
  }
  expect((await store.list("host/")).map((entry) => entry.key)).toEqual(["host/%", "host/a", "host/b", "host/~"]);
  expect(await store.list("none/")).toEqual([]);
});

test("watch() tells commits in order, also when a watcher commits", async () => {
  const store = open(join(directory(), "a.db"));
  const seen: string[] = [];
  let more: Promise<unknown> | undefined;
  store.watch((change) => {
    if (change.revision === 1) more = store.commit([{ kind: "put", key: "c", value: 0 }]);
  });
  const end = store.watch((change: StoreChange) =>
    seen.push(`${change.revision} ${change.writes.map((w) => w.key).join()}`),
  );
  await Promise.all([
    store.commit([{ kind: "put", key: "a", value: 0 }]),
    store.commit([{ kind: "put", key: "x", value: 0 }], [{ key: "x", revision: 9 }]),
    store.commit([{ kind: "delete", key: "a" }]),
  ]);
  await more;
  end();
  await store.commit([{ kind: "put", key: "d", value: 0 }]);
  expect(seen).toEqual(["1 a", "2 a", "3 c"]);
});

test("revisions and values survive close and reopen", async () => {
  const path = join(directory(), "deep", "a.db");
  const first = open(path);
  await first.commit([{ kind: "put", key: "a", value: ["é", null] }]);
  await first.commit([{ kind: "delete", key: "a" }]);
  await first.commit([{ kind: "put", key: "b", value: "x" }]);
  await first.close();
  const second = open(path);
  expect(await second.list("")).toEqual([{ key: "b", value: "x", revision: 3 }]);
  expect(await second.commit([{ kind: "put", key: "c", value: 1 }])).toBe(4);
});

test("the file can be read by its owner alone", () => {
  const path = join(directory(), "a.db");
  open(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("limits: keys, values and writes are refused as invalid, nothing is written", async () => {
  const store = open(join(directory(), "a.db"));
  const put = (key: string, value: unknown) => codeOf(store.commit([{ kind: "put", key, value }]));
  expect(await put("", 1)).toBe("invalid");
  expect(await put("k".repeat(513), 1)).toBe("invalid");
  expect(await put("é", 1)).toBe("invalid");
  expect(await put("a\n", 1)).toBe("invalid");
  expect(await put("k", undefined)).toBe("invalid");
  expect(await put("k", "x".repeat(1024 * 1024))).toBe("invalid");
  expect(await put("k", "x".repeat(1024 * 1024 - 2))).toBe("no error");
  expect((await store.list("")).map((entry) => entry.revision)).toEqual([1]);
});

test("a second open of the same file is a conflict", () => {
  const path = join(directory(), "a.db");
  open(path);
  expect(() => SqliteStore.open(path)).toThrow(/another process uses it/);
});

test("a file that is not a store, and a damaged one, are refused with a hint", async () => {
  const path = join(directory(), "a.db");
  writeFileSync(path, "this is not a database, but it is long enough to be taken for one".repeat(100));
  let error: unknown;
  try {
    SqliteStore.open(path);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(AppError);
  expect(error).toMatchObject({ code: "unavailable", message: expect.stringContaining("damaged") });

  const other = join(directory(), "b.db");
  const store = open(other);
  for (let n = 0; n < 200; n++) await store.commit([{ kind: "put", key: `k${n}`, value: "x".repeat(500) }]);
  await store.close();
  const bytes = new Uint8Array(await Bun.file(other).arrayBuffer());
  bytes.fill(0xff, 8192, 40_960);
  writeFileSync(other, bytes);
  expect(() => SqliteStore.open(other)).toThrow(/damaged/);
});

test("a full disk fails the commit as unavailable and keeps what was there", async () => {
  const store = open(join(directory(), "a.db"), { pagesMax: 20 });
  await store.commit([{ kind: "put", key: "a", value: 1 }]);
  expect(await codeOf(store.commit([{ kind: "put", key: "b", value: "x".repeat(200_000) }]))).toBe("unavailable");
  expect(await store.commit([{ kind: "put", key: "c", value: 2 }])).toBe(2);
  expect((await store.list("")).map((entry) => entry.key)).toEqual(["a", "c"]);
});

test("a directory that cannot be written is unavailable", () => {
  const root = directory();
  writeFileSync(join(root, "file"), "");
  expect(() => SqliteStore.open(join(root, "file", "a.db"))).toThrow(/Cannot open store/);
  chmodSync(root, 0o700);
});

test("after close, calls fail as unavailable", async () => {
  const store = open(join(directory(), "a.db"));
  await store.close();
  expect(await codeOf(store.get("a"))).toBe("unavailable");
  expect(await codeOf(store.commit([]))).toBe("unavailable");
});

test("kill -9 in the middle of writing loses no acknowledged commit", async () => {
  const path = join(directory(), "a.db");
  const script = `
    import { SqliteStore } from ${JSON.stringify(join(import.meta.dir, "sqlite-store.ts"))};
    const store = SqliteStore.open(${JSON.stringify(path)});
    for (let n = 1; ; n++) {
      await Promise.all([0, 1].map((half) => store.commit([{ kind: "put", key: "n/" + n + "/" + half, value: "x".repeat(300) }])));
      await Bun.write(Bun.stdout, n + "\\n");
    }`;
  for (let round = 0; round < 3; round++) {
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    let acknowledged = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      acknowledged += decoder.decode(chunk);
      if (acknowledged.split("\n").length > 40) break;
    }
    child.kill("SIGKILL");
    await child.exited;
    const last = Number(acknowledged.split("\n").at(-2));
    const store = SqliteStore.open(path);
    const keys = new Set((await store.list("n/")).map((entry) => entry.key));
    const missing = Array.from({ length: last }, (_, n) => [`n/${n + 1}/0`, `n/${n + 1}/1`])
      .flat()
      .filter((key) => !keys.has(key));
    expect(last).toBeGreaterThanOrEqual(39);
    expect(missing).toEqual([]);
    const wipe = [...keys].map((key) => ({ kind: "delete", key }) as const);
    await store.commit(wipe);
    await store.close();
  }
}, 30_000);
