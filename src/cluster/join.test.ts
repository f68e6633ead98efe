import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../model/error.ts";
import type { Host, HostPhase } from "../model/host.ts";
import { parseIpv4 } from "../model/ip.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { SqliteStore } from "../platform/sqlite/sqlite-store.ts";
import { joinHost, removalOf, type ChooseBlock, type JoinContext, type JoinRequest } from "./join.ts";
import { readLeases } from "./leases.ts";
import { matchesHash } from "./tokens.ts";

const directory = mkdtempSync(join(tmpdir(), "apollo-join-"));
let opened = 0;
let store: SqliteStore;

function openStore(): SqliteStore {
  return SqliteStore.open(join(directory, `${opened++}.db`));
}

afterEach(async () => {
  await store.close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const RANGE = "10.2.0.0/22";

const firstFree: ChooseBlock = ({ taken }) => {
  const block = [0, 1, 2, 3].map((n) => `10.2.${n}.0/24`).find((one) => !taken.includes(one));
  if (block !== undefined) return { kind: "block", block };
  return { kind: "problem", message: "Cannot lease a block: all taken", hint: "Remove hosts" };
};

function context(phase: HostPhase = "up"): JoinContext {
  return {
    store,
    random: systemRandom,
    digest: nodeDigest,
    nowMs: 5,
    settings: { range: RANGE, blockPrefix: 24 },
    chooseBlock: firstFree,
    checkRangeClash: (_, ranges) => (ranges.length === 0 ? null : { with: ranges, suggestion: "10.3.0.0/22" }),
    reserved: [],
    phaseOf: () => phase,
  };
}

function request(name: string, more: Partial<JoinRequest> = {}): JoinRequest {
  const resources = { cpus: 1, memoryMiB: 100, diskMiB: 0 };
  return {
    name,
    address: parseIpv4("192.0.2.1"),
    labels: {},
    resources,
    hostRanges: [],
    credential: null,
    local: false,
    ...more,
  };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "no error",
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  );
}

test("joinHost() stores host, name and block, and gives a credential of which only the hash is kept", async () => {
  store = openStore();
  const grant = await joinHost(context(), request("h1", { labels: { rack: "a" } }));
  expect(grant).toMatchObject({ block: "10.2.0.0/24", kind: "joined" });
  expect(matchesHash(nodeDigest, grant.credential, grant.host.credentialHash)).toBe(true);
  const entries = await store.list("");
  expect(entries.map(({ key, value }) => [key, value])).toEqual([
    ["block/10.2.0.0_24", { block: "10.2.0.0/24", hostId: grant.host.id, epoch: 1, leasedAtMs: 5 }],
    ["cluster/lease-epoch", { epoch: 1 }],
    ["host-name/h1", { hostId: grant.host.id }],
    [`host/${grant.host.id}`, { ...grant.host }],
  ]);
  expect(JSON.stringify(entries)).not.toContain(grant.credential);
});

test("joinHost() at once: names and blocks are given out once", async () => {
  store = openStore();
  const names = ["a", "b", "c", "d", "e", "a"];
  const outcomes = await Promise.allSettled(names.map((name) => joinHost(context(), request(name))));
  const blocks = outcomes.flatMap((one) => (one.status === "fulfilled" ? [one.value.block] : []));
  expect(blocks.toSorted()).toEqual(["10.2.0.0/24", "10.2.1.0/24", "10.2.2.0/24", "10.2.3.0/24"]);
  const codes = outcomes.flatMap((one) => (one.status === "rejected" ? [(one.reason as AppError).code] : []));
  expect(codes.toSorted()).toEqual(["conflict", "unavailable"]);
  expect((await store.list("host/")).length).toBe(4);
  expect((await store.list("block/")).length).toBe(4);
});

test("a taken name: conflict while its host may live, replaced when it is down, the same host with its credential", async () => {
  store = openStore();
  const first = await joinHost(context(), request("h1"));
  expect(await codeOf(joinHost(context("up"), request("h1")))).toBe("conflict");
  const elsewhere = parseIpv4("192.0.2.9");
  expect(await codeOf(joinHost(context("joining"), request("h1", { address: elsewhere })))).toBe("conflict");
  expect(await codeOf(joinHost(context("up"), request("h1", { credential: "wrong" })))).toBe("conflict");

  const address = parseIpv4("192.0.2.7");
  const again = await joinHost(context("up"), request("h1", { credential: first.credential, address }));
  expect(again).toMatchObject({ kind: "rejoined", block: first.block, host: { id: first.host.id, address } });
  expect(again.credential).not.toBe(first.credential);

  const replaced = await joinHost(context("down"), request("h1"));
  expect(replaced).toMatchObject({ kind: "replaced", block: first.block, host: { id: first.host.id } });
  expect(await codeOf(joinHost(context("up"), request("h1", { credential: first.credential })))).toBe("conflict");
  expect((await store.list("")).map(({ key }) => key.split("/")[0])).toEqual(["block", "cluster", "host-name", "host"]);
});

test("the server's own machine that lost its credential has its name again when the server has just started", async () => {
  store = openStore();
  const first = await joinHost(context(), request("h1"));
  // An address is easily claimed: the request itself has to come from this machine.
  expect(await codeOf(joinHost(context("joining"), request("h1")))).toBe("conflict");
  const again = await joinHost(context("joining"), request("h1", { local: true }));
  expect(again).toMatchObject({ kind: "replaced", block: first.block, host: { id: first.host.id } });
  expect(again.credential).not.toBe(first.credential);
});

test("a machine whose own routes use the range is refused with a suggestion, and nothing is stored", async () => {
  store = openStore();
  const clash = await joinHost(context(), request("h2", { hostRanges: ["10.0.0.0/8"] })).catch(
    (error: unknown) => error,
  );
  expect(clash).toMatchObject({ code: "conflict", hint: expect.stringContaining("--range 10.3.0.0/22") });
  expect(await store.list("")).toEqual([]);
});

test("removalOf() frees name and block", async () => {
  store = openStore();
  const { host } = await joinHost(context(), request("h1"));
  const { writes, conditions } = removalOf(host, await readLeases(store), 6);
  expect(await store.commit(writes, conditions)).not.toBeNull();
  expect((await store.list("")).map(({ key }) => key)).toEqual(["cluster/lease-epoch"]);
  const next = await joinHost(context(), request("h1"));
  expect(next).toMatchObject({ kind: "joined", block: "10.2.0.0/24" });
  expect((next.host as Host).id).not.toBe(host.id);
  expect((await readLeases(store)).leases).toEqual([
    { block: "10.2.0.0/24", hostId: (next.host as Host).id, epoch: 2, leasedAtMs: 5 },
  ]);
});
