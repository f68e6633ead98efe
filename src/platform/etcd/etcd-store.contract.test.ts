/** The store's contract over a real etcd, one for all tests; each has keys of its own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../../model/error.ts";
import { storeContract } from "../../sim/store.contract.ts";
import { systemClock } from "../clock/system-clock.ts";
import { systemRandom } from "../clock/system-random.ts";
import { EtcdProcess, requireEtcd } from "./etcd-process.ts";
import { EtcdReplica } from "./etcd-replica.ts";
import { EtcdStore } from "./etcd-store.ts";
import { type Office, type OfficeOptions, readHolder, takeOffice } from "./office.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const directory = mkdtempSync(join(tmpdir(), "apollo-etcd-"));
const [clock, random] = [systemClock, systemRandom];
const never = new AbortController().signal;
let etcd: EtcdProcess;
let peerUrl = "";
let used = 0;

beforeAll(async () => {
  peerUrl = `http://127.0.0.1:${await freePort()}`;
  const cluster = { state: "new", members: [{ name: "one", peerUrl }] } as const;
  etcd = EtcdProcess.start({ name: "one", directory, peerUrl, cluster, tls: null, clock, log });
  await etcd.ready(never);
}, 30_000);

afterAll(async () => {
  await etcd.close();
  rmSync(directory, { recursive: true, force: true });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

function optionsOf(prefix: string, name = "a"): OfficeOptions {
  return { gateway: etcd.gateway, clock, prefix, self: { name, url: `https://${name}` } };
}

async function office(options: OfficeOptions): Promise<Office> {
  const taken = await takeOffice(options, never);
  if (taken === null) throw new Error("nobody aborted it");
  return taken;
}

async function open(prefix: string): Promise<{ readonly store: EtcdStore; readonly held: Office }> {
  const held = await office(optionsOf(prefix));
  return { store: await EtcdStore.open({ gateway: etcd.gateway, office: held, clock, random, prefix }), held };
}

function newPrefix(): string {
  used += 1;
  return `test-${used}/`;
}

storeContract("EtcdStore", async () => {
  const prefix = newPrefix();
  let { store, held } = await open(prefix);
  return {
    store,
    reopen: async () => {
      await store.close();
      await held.resign();
      ({ store, held } = await open(prefix));
      return store;
    },
    cleanUp: async () => {
      await store.close();
      await held.resign();
    },
  };
});

test("one of several candidates holds the office; when it resigns another one has it", async () => {
  const prefix = newPrefix();
  const first = await office(optionsOf(prefix, "a"));
  expect(await readHolder(optionsOf(prefix))).toEqual({ name: "a", url: "https://a" });
  const waiting = office(optionsOf(prefix, "b"));
  expect(first.holds()).toBe(true);
  await first.resign();
  expect(first.holds()).toBe(false);
  const second = await waiting;
  expect((await readHolder(optionsOf(prefix)))?.name).toBe("b");
  expect(second.revision).toBeGreaterThan(first.revision);
  await second.resign();
  expect(await readHolder(optionsOf(prefix))).toBeNull();
});

test("a former holder writes nothing, even while it believes in its office", async () => {
  const prefix = newPrefix();
  const { store: before, held: first } = await open(prefix);
  await before.commit([{ kind: "put", key: "a", value: 1 }]);
  // As if its lease had run out unnoticed: the key goes, and another run takes over.
  const { store: after, held: second } = await open(prefix);
  expect(first.lost.aborted).toBe(false);
  const refused = await before.commit([{ kind: "put", key: "a", value: 2 }]).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "unavailable" });
  expect(first.lost.aborted).toBe(true);
  expect((await after.get("a"))?.value).toBe(1);
  expect(await after.commit([{ kind: "put", key: "a", value: 3 }])).not.toBeNull();
  expect((await after.get("a"))?.value).toBe(3);
  await second.resign();
});

test("a commit whose answer is lost is sent again and happens once", async () => {
  const prefix = newPrefix();
  const held = await office(optionsOf(prefix));
  let lose = 0;
  const gateway = new Proxy(etcd.gateway, {
    get: (target, name) => {
      if (name !== "transact") return Reflect.get(target, name, target).bind(target);
      return async (...args: Parameters<typeof target.transact>) => {
        const answer = await target.transact(...args);
        if (lose === 0) return answer;
        lose -= 1;
        throw new AppError("unavailable", "Cannot reach this server's etcd: the connection broke");
      };
    },
  });
  const store = await EtcdStore.open({ gateway, office: held, clock, random, prefix });
  const first = await store.commit([{ kind: "put", key: "n", value: 1 }]);
  lose = 2;
  const second = await store.commit([{ kind: "put", key: "n", value: 2 }], [{ key: "n", revision: first ?? 0 }]);
  expect(second).toBeGreaterThan(first ?? 0);
  expect(await store.get("n")).toEqual({ key: "n", value: 2, revision: second ?? 0 });
  expect(
    await store.commit([{ kind: "put", key: "n", value: 3 }], [{ key: "n", revision: second ?? 0 }]),
  ).not.toBeNull();
  await held.resign();
});

test("a replica shows one moment, then each commit whole with what was before, and who leads", async () => {
  const prefix = newPrefix();
  const { store, held } = await open(prefix);
  const many = Array.from({ length: 600 }, (_, at) => ({ kind: "put", key: `r/${at}`, value: at }) as const);
  await store.commit(many);
  const replica = new EtcdReplica({ gateway: etcd.gateway, clock, prefix });
  expect(replica.leader()).toBeNull();
  const end = new AbortController();
  const looking = replica.run(end.signal);
  const view = await replica.open();
  await store.commit([
    { kind: "put", key: "r/1", value: "new" },
    { kind: "delete", key: "r/2" },
    { kind: "put", key: "other", value: 1 },
  ]);
  await store.commit([{ kind: "put", key: "r/new", value: { a: "ä" } }]);
  expect((await view.list("r/")).length).toBe(600);
  expect((await view.get("r/1"))?.value).toBe(1);
  expect(await view.get("other")).toBeNull();
  const { promise: heard, resolve } = Promise.withResolvers<void>();
  const commits: unknown[] = [];
  const following = view.follow("r/", (changes) => commits.push(changes) === 2 && resolve(), end.signal);
  await heard;
  expect(commits).toEqual([
    expect.arrayContaining([
      { key: "r/1", value: "new", before: 1 },
      { key: "r/2", value: null, before: 2 },
    ]),
    [{ key: "r/new", value: { a: "ä" }, before: null }],
  ]);
  while (replica.leader() === null) await clock.sleep(10);
  expect(replica.leader()).toBe("a");
  expect(replica.contactMs()).toBeLessThan(2500);
  end.abort();
  await Promise.all([following, looking]);
  await held.resign();
});

test("a port that somebody has is told before anything depends on it", async () => {
  const place = { name: "two", address: "127.0.0.1", port: Number(new URL(peerUrl).port) };
  const refused = await requireEtcd(place).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "conflict" });
  expect(await requireEtcd({ ...place, port: await freePort() })).toBeUndefined();
});

test("many and large writes in one commit, and lists longer than a page", async () => {
  const { store, held } = await open(newPrefix());
  const writes = Array.from({ length: 10_000 }, (_, at) => ({ kind: "put", key: `k/${at}`, value: at }) as const);
  expect(await store.commit(writes)).not.toBeNull();
  expect((await store.list("k/")).length).toBe(10_000);
  const large = Array.from({ length: 3 }, (_, at) => {
    return { kind: "put", key: `l/${at}`, value: "x".repeat(1024 * 1024 - 2) } as const;
  });
  expect(await store.commit(large)).not.toBeNull();
  expect((await store.list("l/")).length).toBe(3);
  await held.resign();
}, 30_000);
