/** Servers that come and go: most of this is waiting for deaths to be seen. Real processes, each server with its own etcd. */
import { expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type DiscoveryProcess, until, withDirectory, withNodes } from "./node.fixture.ts";
import {
  type Begin,
  childrenIn,
  members,
  peersOf,
  places,
  present,
  read,
  type Three,
  whole,
} from "./servers.fixture.ts";

const LONG_MS = 120_000;

/** Kills two of three: what one alone still answers. Both dead are known as such once there is a leader again. */
async function loseQuorum({ s1, s2, s3 }: Three, begin: Begin): Promise<DiscoveryProcess> {
  await s1.put("kv/last", "word");
  await until("the copy", async () => (await read(s1, "kv/last?stale")).status === 200);
  s3.signal("SIGKILL");
  await s3.ended();
  await until("its death to be seen", async () => (await s1.statuses())["s3"] === 4);
  s2.signal("SIGKILL");
  await s2.ended();
  await until("no leader", async () => (await s1.ask("GET", "kv/last")).text === "No cluster leader");
  expect(await s1.ask("PUT", "kv/new", "no")).toEqual({ status: 500, text: "No cluster leader" });
  for (const path of ["health/service/consul", "catalog/nodes", "kv/last?consistent"])
    expect(await s1.ask("GET", path)).toEqual({ status: 500, text: "No cluster leader" });
  expect(await s1.ask("GET", "status/leader")).toEqual({ status: 200, text: '""' });
  expect(await s1.dig("s1.node.consul")).toEqual(["127.0.0.1"]);
  expect((await read(s1, "catalog/nodes?stale")).text).toContain('"Node":"s3"');
  const stale = await read(s1, "kv/last?stale&raw");
  expect(stale.text).toBe("word");
  await until("who is missing", () => Promise.resolve(s1.said.includes("2 are needed; missing: s2 at 127.0.0.2, s3")));
  expect(await members(s1)).toBe('{"s1":1,"s2":4,"s3":4}');
  await until("the leader to be missed", async () => (await read(s1, "kv/last?stale")).knownLeader === "false");
  expect((await read(s1, "kv/last?stale")).lastContact).toBeGreaterThan(stale.lastContact);

  const back = begin(s2.start);
  await until("a leader", async () => (await s1.ask("GET", "kv/last?raw")).text === "word");
  // It was dead before: nobody takes it for alive because another one leads.
  expect((await s1.statuses())["s3"]).toBe(4);
  await until("it to answer", async () => (await back.ask("GET", "kv/new")).status === 404);
  return back;
}

/** Nobody renews it: it ends by its TTL, counted from the last change of leader, and its lock is delayed. */
async function endSession(asked: DiscoveryProcess, other: DiscoveryProcess, session: string): Promise<void> {
  const holder = async (): Promise<string | undefined> =>
    (await asked.get<readonly { readonly Session?: string }[]>("kv/lock"))[0]?.Session;
  expect(await holder()).toBe(session);
  await until("the session to end", async () => (await holder()) === undefined);
  const { ID } = await other.create("session/create", {});
  expect((await other.ask("PUT", `kv/lock?acquire=${ID}`, "yours")).text).toBe("false");
}

test(
  "one server grows to three: no quorum, force-leave, a return, a new machine of the same name, leave",
  () =>
    withDirectory(async (directory) => {
      await withNodes(async (begin) => {
        const place = await places(directory, []);
        const s1 = begin({ ...place(1), flags: ["--server", "--bootstrap"] });
        await s1.ready();
        await s1.put("kv/before", "alone");
        const [s2, s3] = [begin(place(2)), begin(place(3))];
        await whole([s1, s2, s3], '{"s1":1,"s2":1,"s3":1}');
        expect((await s3.ask("GET", "kv/before?raw")).text).toBe("alone");
        const { ID: session } = await s1.create("session/create", { TTL: "10s", LockDelay: "60s" });
        expect((await s1.ask("PUT", `kv/lock?acquire=${session}`, "mine")).text).toBe("true");
        const back = await loseQuorum({ s1, s2, s3, all: [s1, s2, s3] }, begin);
        await back.put("agent/force-leave/s3");
        expect((await s1.statuses())["s3"]).toBe(3);
        expect(await peersOf(back)).toBe(2);

        // It was away when it was taken out: it joins anew, with what the others have.
        const third = begin(place(3));
        await until("it to join anew", async () => (await peersOf(third)) === 3);
        await whole([s1, back, third], '{"s1":1,"s2":1,"s3":1}');
        expect((await third.ask("GET", "kv/before?raw")).text).toBe("alone");

        await endSession(s1, third, session);

        // A new machine in the place of a lost one: nothing but the name is the same.
        third.signal("SIGKILL");
        await third.ended();
        rmSync(join(directory, "s3"), { recursive: true });
        const replaced = begin(place(3));
        await whole([s1, back, replaced], '{"s1":1,"s2":1,"s3":1}');
        expect(await peersOf(replaced)).toBe(3);
        expect((await read(replaced, "kv/before?stale&raw")).text).toBe("alone");

        // The one that leads leaves: another one has to take over for that.
        const leader = await present(s1, [s1, back, replaced]);
        await leader.put("agent/leave");
        expect(await leader.ended()).toBe(0);
        expect(existsSync(join(directory, leader.start.name, "tls/ca.key"))).toBe(false);
        const others = [s1, back, replaced].filter((each) => each !== leader);
        const left = JSON.stringify({ s1: 1, s2: 1, s3: 1, [leader.start.name]: 3 });
        for (const each of others) await until("two servers", async () => (await peersOf(each)) === 2);
        for (const each of others) await until("it to have left", async () => sorted(await members(each)) === left);
      });
      await until("every etcd to end with its server", () => Promise.resolve(childrenIn(directory).length === 0));
    }),
  LONG_MS,
);

function sorted(statuses: string): string {
  const entries = Object.entries(JSON.parse(statuses) as Readonly<Record<string, number>>);
  return JSON.stringify(Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1))));
}

test(
  "a server that leaves while others are waited for is not counted any more",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const place = await places(directory, ["--bootstrap-expect", "3"]);
        const [s1, s2] = [begin(place(1)), begin(place(2))];
        await until("two of three", () =>
          Promise.resolve(s1.said.includes("2 of 3 expected servers are here (s1, s2)")),
        );
        await s2.put("agent/leave");
        expect(await s2.ended()).toBe(0);
        const again = (): boolean =>
          s1.said.slice(s1.said.indexOf("Server left")).includes("1 of 3 expected servers is");
        await until("one of three", () => Promise.resolve(s1.said.includes("Server left") && again()));
        expect(await s1.ask("GET", "status/leader")).toEqual({ status: 200, text: '""' });
        await whole([s1, begin(place(2)), begin(place(3))], '{"s1":1,"s2":1,"s3":1}');
      }),
    ),
  LONG_MS,
);
