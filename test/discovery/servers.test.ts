/** Servers of `apollo discovery agent` on one machine: real processes, each with its own etcd. The tests run side by side: most of their time is waiting. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { type DiscoveryProcess, freePorts, type NodeStart, until, withDirectory, withNodes } from "./node.fixture.ts";

const LONG_MS = 120_000;
type Begin = (start: NodeStart) => DiscoveryProcess;

interface Three {
  readonly s1: DiscoveryProcess;
  readonly s2: DiscoveryProcess;
  readonly s3: DiscoveryProcess;
  readonly all: readonly DiscoveryProcess[];
}

/** Of servers at 127.0.0.1, .2 and .3, all told to join the first one. */
async function places(directory: string, flags: readonly string[]): Promise<(at: number) => NodeStart> {
  const ports = await freePorts();
  const all = ["--server", "--join", `127.0.0.1:${ports.cluster}`, ...flags];
  return (at) => ({ name: `s${at}`, address: `127.0.0.${at}`, ports, directory, flags: all });
}

function joinOf({ ports }: NodeStart): readonly string[] {
  return ["--join", `127.0.0.1:${ports.cluster}`];
}

/** Which of them leads, by the word of `asked`. */
async function leaderOf(asked: DiscoveryProcess, all: readonly DiscoveryProcess[]): Promise<DiscoveryProcess | null> {
  const { status, text } = await asked.ask("GET", "status/leader");
  const named = status === 200 ? (JSON.parse(text) as string) : "";
  return all.find(({ start }) => named === `${start.address}:${start.ports.server}`) ?? null;
}

async function present(asked: DiscoveryProcess, all: readonly DiscoveryProcess[]): Promise<DiscoveryProcess> {
  let found: DiscoveryProcess | null = null;
  await until("a leader", async () => (found = await leaderOf(asked, all)) !== null);
  if (found === null) throw new Error("there is a leader");
  return found;
}

async function peersOf(asked: DiscoveryProcess): Promise<number> {
  return (await asked.get<readonly string[]>("status/peers")).length;
}

async function members(asked: DiscoveryProcess): Promise<string> {
  return JSON.stringify(await asked.statuses());
}

/** Each of them knows all others and reaches the one that leads. */
async function whole(all: readonly DiscoveryProcess[], statuses: string): Promise<void> {
  for (const each of all) {
    await until(`${each.start.name} to know ${statuses}`, async () => (await members(each)) === statuses);
    await until("it to answer", async () => (await each.ask("GET", "kv/none")).status === 404);
  }
}

/** Processes whose working directory is below this one: each server's etcd. */
function childrenIn(directory: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`).startsWith(directory);
    } catch {
      return false;
    }
  });
}

interface Read {
  readonly status: number;
  readonly text: string;
  readonly index: string | null;
  readonly knownLeader: string | null;
  readonly lastContact: number;
}

async function read({ start: { address, ports } }: DiscoveryProcess, path: string): Promise<Read> {
  const answer = await fetch(`http://${address}:${ports.http}/v1/${path}`);
  const header = (name: string): string | null => answer.headers.get(`x-consul-${name}`);
  const lastContact = Number(header("lastcontact") ?? NaN);
  const text = await answer.text();
  return { status: answer.status, text, index: header("index"), knownLeader: header("knownleader"), lastContact };
}

interface Writing {
  /** Numbers of the keys whose writes were acknowledged. */
  readonly acknowledged: readonly number[];
  end(): Promise<void>;
}

function write(over: DiscoveryProcess): Writing {
  const acknowledged: number[] = [];
  let stop = false;
  const writing = (async () => {
    for (let at = 0; !stop; at += 1) {
      const answer = await over.ask("PUT", `kv/n/${at}`, String(at)).catch(() => null);
      if (answer?.status === 200 && answer.text.trim() === "true") acknowledged.push(at);
      else await systemClock.sleep(20);
    }
  })();
  return {
    acknowledged,
    end: async () => {
      stop = true;
      await writing;
    },
  };
}

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
  const [after] = [writing.acknowledged.length];
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
async function outlive(killed: DiscoveryProcess, all: readonly DiscoveryProcess[], begin: Begin): Promise<void> {
  const left = all.filter((each) => each !== killed);
  const [reader, other] = left;
  if (reader === undefined || other === undefined) throw new Error("two are left");
  const { text } = await reader.ask("PUT", "session/create", { TTL: "10s", LockDelay: "15s" });
  const { ID: session } = JSON.parse(text) as { readonly ID: string };
  expect((await reader.ask("PUT", `kv/lock?acquire=${session}`, "mine")).text).toBe("true");
  const gone = JSON.parse((await reader.ask("PUT", "session/create", {})).text) as { readonly ID: string };
  expect((await reader.ask("PUT", `kv/delayed?acquire=${gone.ID}`, "mine")).text).toBe("true");
  await reader.put(`session/destroy/${gone.ID}`);
  await reader.put("agent/check/pass/service:web").catch(() => other.put("agent/check/pass/service:web"));
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
  const next = JSON.parse((await other.ask("PUT", "session/create", {})).text) as { readonly ID: string };
  expect((await other.ask("PUT", `kv/lock?acquire=${next.ID}`, "yours")).text).toBe("false");
  // The delay is kept by the next leader; without it the key would be free.
  expect((await other.ask("PUT", `kv/delayed?acquire=${next.ID}`, "yours")).text).toBe("false");
  expect((await reader.ask("PUT", `session/renew/${session}`)).status).toBe(200);
  const [web] = await reader.get<readonly { readonly Status: string }[]>("health/checks/web");
  expect(web?.Status).toBe("passing");
  await until("its death to be seen", async () => (await reader.statuses())[killed.start.name] === 4);
  begin(killed.start);
  await until("it to be back", async () => (await reader.statuses())[killed.start.name] === 1);
}

test.concurrent(
  "three expected servers: no leader before, stale reads, a restored snapshot, a death under writes and locks",
  () =>
    withDirectory(async (directory) => {
      await withNodes(async (begin) => {
        const { s2, all } = await beginExpected(directory, begin);
        const raft = await s2.get<{ Servers: readonly { Leader: boolean }[] }>("operator/raft/configuration");
        expect(raft.Servers.map(({ Leader }) => Leader).filter(Boolean)).toHaveLength(1);
        const leader = await present(s2, all);
        const standby = all.find((each) => each !== leader);
        if (standby === undefined) throw new Error("two stand by");
        const client = begin({ ...standby.start, name: "c1", address: "127.0.0.4", flags: joinOf(standby.start) });
        await readStale(leader, standby);
        await restore(leader, standby);
        await client.ready();
        await client.put("agent/leave");
        await client.ended();
        await outlive(leader, all, begin);
        // By the word of the next leader, which has not seen it.
        for (const each of all.filter((one) => one !== leader)) expect((await each.statuses())["c1"]).toBe(3);
      });
      await until("every etcd to end with its server", () => Promise.resolve(childrenIn(directory).length === 0));
    }),
  LONG_MS,
);

/** Kills two of three: what one alone still answers. Both dead are known as such once there is a leader again. */
async function loseQuorum({ s1, s2, s3 }: Three, begin: Begin): Promise<DiscoveryProcess> {
  await s1.put("kv/last", "word");
  await until("the copy", async () => (await read(s1, "kv/last?stale")).status === 200);
  s3.signal("SIGKILL");
  await until("its death to be seen", async () => (await s1.statuses())["s3"] === 4);
  s2.signal("SIGKILL");
  await until("no leader", async () => (await s1.ask("GET", "kv/last")).text === "No cluster leader");
  expect(await s1.ask("PUT", "kv/new", "no")).toEqual({ status: 500, text: "No cluster leader" });
  for (const path of ["health/service/consul", "catalog/nodes", "kv/last?consistent"])
    expect(await s1.ask("GET", path)).toEqual({ status: 500, text: "No cluster leader" });
  expect(await s1.ask("GET", "status/leader")).toEqual({ status: 200, text: '""' });
  expect(await s1.dig("s1.node.consul")).toEqual(["127.0.0.1"]);
  expect((await read(s1, "catalog/nodes?stale")).text).toContain('"Node":"s3"');
  const stale = await read(s1, "kv/last?stale&raw");
  expect(stale.text).toBe("word");
  await until("the leader to be missed", async () => (await read(s1, "kv/last?stale")).knownLeader === "false");
  expect((await read(s1, "kv/last?stale")).lastContact).toBeGreaterThan(stale.lastContact);

  const back = begin(s2.start);
  await until("a leader", async () => (await s1.ask("GET", "kv/last?raw")).text === "word");
  // It was dead before: nobody takes it for alive because another one leads.
  expect((await s1.statuses())["s3"]).toBe(4);
  await until("it to answer", async () => (await back.ask("GET", "kv/new")).status === 404);
  return back;
}

test.concurrent(
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
        const back = await loseQuorum({ s1, s2, s3, all: [s1, s2, s3] }, begin);
        await back.put("agent/force-leave/s3");
        expect((await s1.statuses())["s3"]).toBe(3);
        expect(await peersOf(back)).toBe(2);

        // It was away when it was taken out: it joins anew, with what the others have.
        const third = begin(place(3));
        await until("it to join anew", async () => (await peersOf(third)) === 3);
        await whole([s1, back, third], '{"s1":1,"s2":1,"s3":1}');
        expect((await third.ask("GET", "kv/before?raw")).text).toBe("alone");

        // The one that leads leaves: another one has to take over for that.
        const leader = await present(s1, [s1, back, third]);
        await leader.put("agent/leave");
        expect(await leader.ended()).toBe(0);
        expect(existsSync(join(directory, leader.start.name, "tls/ca.key"))).toBe(false);
        const others = [s1, back, third].filter((each) => each !== leader);
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
