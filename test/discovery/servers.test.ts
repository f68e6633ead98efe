/** Servers of `apollo discovery agent` on one machine: real processes, each with its own etcd. The tests run side by side: most of their time is waiting. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type DiscoveryProcess, freePorts, type NodeStart, until, withDirectory, withNodes } from "./node.fixture.ts";
import {
  type Begin,
  childrenIn,
  joinOf,
  members,
  peersOf,
  places,
  present,
  read,
  type Three,
  whole,
  write,
} from "./servers.fixture.ts";

const LONG_MS = 120_000;
/** The last one comes when the others have waited for it; one with another number is refused. */
async function beginExpected(directory: string, begin: Begin): Promise<Three> {
  const place = await places(directory, ["--bootstrap-expect", "3"]);
  const [s3, s1] = [begin(place(3)), begin(place(1))];
  const isHere = (): Promise<boolean> => Promise.resolve(s1.said.includes("2 of 3 expected servers are here (s1, s3)"));
  await until("two of three", isHere);
  for (const each of [s1, s3]) {
    expect(await each.ask("GET", "status/leader")).toEqual({ status: 200, text: '""' });
    expect(await each.ask("GET", "kv/a")).toEqual({ status: 500, text: "No cluster leader" });
    expect(await each.ask("PUT", "kv/a", "1")).toEqual({ status: 500, text: "No cluster leader" });
    expect(await members(each)).toBe(JSON.stringify({ [each.start.name]: 1 }));
  }
  const other = begin({ ...place(2), name: "five", flags: [...(place(2).flags ?? []), "--bootstrap-expect", "5"] });
  expect(await other.ended()).toBeGreaterThan(0);
  expect(other.said).toContain('Cannot take server "five": it expects 5 servers, the others 3');
  expect(await s1.ask("GET", "status/leader")).toEqual({ status: 200, text: '""' });
  const s2 = begin(place(2));
  const all = [s1, s2, s3];
  await whole(all, '{"s1":1,"s2":1,"s3":1}');
  return { s1, s2, s3, all };
}

/** What a server that stands by answers itself, and what the leader is asked for. */
async function readStale(leader: DiscoveryProcess, standby: DiscoveryProcess): Promise<void> {
  await standby.put("agent/service/register", { Name: "web", Port: 80, Check: { TTL: "10m", Status: "passing" } });
  await standby.put("kv/a", "1");
  await until("the copy", async () => (await read(standby, "kv/a?stale&raw")).text === "1");
  await until("the leader to be known", async () => (await read(standby, "kv/a?stale")).knownLeader === "true");
  const { index, lastContact } = await read(standby, "kv/a?stale");
  expect(lastContact).toBeGreaterThanOrEqual(0);
  expect((await read(standby, "health/service/web?stale&passing")).text).toContain('"ServiceID":"web"');
  expect((await read(standby, "kv/a?consistent&raw")).text).toBe("1");
  const waiting = read(standby, `kv/a?stale&raw&index=${index}`);
  await leader.put("kv/a", "2");
  expect((await waiting).text).toBe("2");
}

/** A snapshot is put back while others write: what one of them says afterwards is either of it or later. */
async function restore(leader: DiscoveryProcess, standby: DiscoveryProcess): Promise<void> {
  const pairs = ["x", "y"].map((key) => ({ KV: { Verb: "set", Key: `pair/${key}`, Value: btoa("old") } }));
  await leader.put("txn", pairs);
  const snapshot = (await leader.ask("GET", "snapshot")).text;
  await leader.put(
    "txn",
    pairs.map(({ KV }) => ({ KV: { ...KV, Value: btoa("new") } })),
  );
  await leader.put("kv/late", "1");
  await until("the copy", async () => (await read(standby, "kv/late?stale")).status === 200);
  const [before, copied] = [await read(leader, "kv/pair/x"), await read(standby, "kv/late?stale")];
  const blocked = read(leader, `kv/pair/x?raw&index=${before.index}`);
  const blockedOnCopy = read(standby, `kv/late?stale&index=${copied.index}`);
  const writing = write(standby);
  await until("writes", () => Promise.resolve(writing.acknowledged.length > 20));
  const damaged = await leader.ask("PUT", "snapshot", snapshot.slice(0, -10));
  expect(damaged.status).toBe(400);
  expect((await read(leader, "kv/pair/x?raw")).text).toBe("new");
  await leader.put("snapshot", snapshot);
  const atOnce = await leader.get<readonly { readonly Value: string }[]>("kv/pair/?recurse");
  expect(atOnce.map(({ Value }) => atob(Value))).toEqual(["old", "old"]);
  expect((await blocked).text).toBe("old");
  await blockedOnCopy;
  await until("the copy to follow", async () => (await read(standby, "kv/pair/x?stale&raw")).text === "old");
  expect((await read(standby, "kv/late?stale")).status).toBe(404);
  const after = writing.acknowledged.length;
  await until("writes to go on", () => Promise.resolve(writing.acknowledged.length > after + 5));
  await writing.end();
  // All writes after the restore are there, of those before it a beginning is missing: none is lost in between.
  const kept = new Set(await leader.get<readonly string[]>("kv/n/?keys"));
  const missing = writing.acknowledged.findLastIndex((at) => !kept.has(`n/${at}`));
  expect(missing).toBeLessThan(after);
  expect(writing.acknowledged.slice(0, missing + 1).filter((at) => kept.has(`n/${at}`))).toEqual([]);
  await leader.ask("DELETE", "kv/n/?recurse");
}

/** Kills the leader under writes of another server, which holds a lock. What was acknowledged is there, and the lock is held. */
async function outlive(killed: DiscoveryProcess, all: readonly DiscoveryProcess[]): Promise<void> {
  const left = all.filter((each) => each !== killed);
  const [reader, other] = left;
  if (reader === undefined || other === undefined) throw new Error("two are left");
  const { ID: session } = await reader.create("session/create", { TTL: "10s", LockDelay: "15s" });
  expect((await reader.ask("PUT", `kv/lock?acquire=${session}`, "mine")).text).toBe("true");
  const gone = await reader.create("session/create", {});
  expect((await reader.ask("PUT", `kv/delayed?acquire=${gone.ID}`, "mine")).text).toBe("true");
  await reader.put(`session/destroy/${gone.ID}`);
  const writing = write(reader);
  await until("writes", () => Promise.resolve(writing.acknowledged.length > 20));
  const before = writing.acknowledged.length;
  killed.signal("SIGKILL");
  await killed.ended();
  const goneMs = await until("writes to go on", () => Promise.resolve(writing.acknowledged.length > before + 20));
  console.log(`writes went on ${Math.round(goneMs)} ms after the death of the leader`);
  await writing.end();
  expect(await present(reader, all)).not.toBe(killed);
  const kept = new Set(await reader.get<readonly string[]>("kv/n/?keys"));
  expect(writing.acknowledged.filter((at) => !kept.has(`n/${at}`))).toEqual([]);

  await until("it to answer", async () => (await other.ask("GET", "kv/none")).status === 404);
  const [lock] = await reader.get<readonly { readonly Session?: string }[]>("kv/lock");
  expect(lock?.Session).toBe(session);
  const next = await other.create("session/create", {});
  expect((await other.ask("PUT", `kv/lock?acquire=${next.ID}`, "yours")).text).toBe("false");
  // The delay is kept by the next leader; without it the key would be free.
  expect((await other.ask("PUT", `kv/delayed?acquire=${next.ID}`, "yours")).text).toBe("false");
  expect((await reader.ask("PUT", `session/renew/${session}`)).status).toBe(200);
  const [web] = await reader.get<readonly { readonly Status: string }[]>("health/checks/web");
  expect(web?.Status).toBe("passing");
}

test.concurrent(
  "three expected servers: no leader before, stale reads, a restored snapshot, a death under writes and locks",
  () =>
    withDirectory(async (directory) => {
      await withNodes(async (begin) => {
        const { s2, all } = await beginExpected(directory, begin);
        const raft = await s2.get<{ Servers: readonly { Leader: boolean }[] }>("operator/raft/configuration");
        expect([raft.Servers.length, raft.Servers.filter(({ Leader }) => Leader).length]).toEqual([3, 1]);
        const leader = await present(s2, all);
        const standby = all.find((each) => each !== leader);
        if (standby === undefined) throw new Error("two stand by");
        const client = begin({ ...standby.start, name: "c1", address: "127.0.0.4", flags: joinOf(standby.start) });
        await readStale(leader, standby);
        await restore(leader, standby);
        await client.ready();
        await client.put("agent/leave");
        await client.ended();
        await outlive(leader, all);
        // By the word of the next leader, which has not seen it.
        for (const each of all.filter((one) => one !== leader)) expect((await each.statuses())["c1"]).toBe(3);
      });
      await until("every etcd to end with its server", () => Promise.resolve(childrenIn(directory).length === 0));
    }),
  LONG_MS,
);

test.concurrent(
  "servers that all know each other begin one cluster; a client's token makes no server",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const ports = await freePorts();
        const known = ["127.0.0.1", "127.0.0.2"].map((address) => `${address}:${ports.cluster}`);
        const flags = ["--server", "--bootstrap-expect", "2", ...known.flatMap((place) => ["--retry-join", place])];
        const start = (name: string, address: string): NodeStart => ({ name, address, ports, directory, flags });
        const [s1, s2] = [begin(start("s1", "127.0.0.1")), begin(start("s2", "127.0.0.2"))];
        for (const each of [s1, s2]) await until("two servers", async () => (await peersOf(each)) === 2);
        const token = readFileSync(join(directory, "s1/join-token"), "utf8").trim();
        const joins = ["--server", "--join", known[0] ?? "", "--token", token];
        const third = begin({ ...start("s3", "127.0.0.3"), flags: joins });
        expect(await third.ended()).toBeGreaterThan(0);
        expect(third.said).toContain("the token is not the cluster's server token");
      }),
    ),
  LONG_MS,
);
