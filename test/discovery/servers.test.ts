/** Three servers of `apollo discovery agent` on one machine: real processes, each with its own etcd. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { type DiscoveryProcess, freePorts, type NodeStart, until, withDirectory, withNodes } from "./node.fixture.ts";

const LONG_MS = 120_000;

async function threeServers(directory: string): Promise<readonly NodeStart[]> {
  const ports = await freePorts();
  return ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map((address, at) => ({
    name: `s${at + 1}`,
    address,
    ports,
    directory,
    flags: at === 0 ? ["--server", "--bootstrap"] : ["--server", "--join", `127.0.0.1:${ports.cluster}`],
  }));
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

interface Three {
  readonly all: readonly DiscoveryProcess[];
  readonly client: DiscoveryProcess;
}

/** The first one is alone before the others come. */
async function beginThree(directory: string, begin: (start: NodeStart) => DiscoveryProcess): Promise<Three> {
  const [one, two, three] = await threeServers(directory);
  if (one === undefined || two === undefined || three === undefined) throw new Error("three were asked for");
  const s1 = begin(one);
  await s1.ready();
  await s1.put("kv/before", "alone");
  const joins = ["--join", `127.0.0.1:${one.ports.cluster}`];
  const client = begin({ name: "c1", address: "127.0.0.4", ports: one.ports, directory, flags: joins });
  const [s2, s3] = [begin(two), begin(three)];
  await until("three servers", async () => (await peersOf(s3)) === 3 && (await peersOf(s2)) === 3);
  await until("four members", async () => Object.values(await s2.statuses()).join() === "1,1,1,1");
  return { all: [s1, s2, s3], client };
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

/** Kills one under writes of a client, and starts it again. */
async function outlive(
  killed: DiscoveryProcess,
  { all, client }: Three,
  begin: (start: NodeStart) => DiscoveryProcess,
): Promise<DiscoveryProcess> {
  const [reader] = all.filter((each) => each !== killed);
  if (reader === undefined) throw new Error("two are left");
  const writing = write(client);
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
  await until("its death to be seen", async () => (await reader.statuses())[killed.start.name] === 4);

  const again = begin(killed.start);
  await until("it to be back", async () => (await reader.statuses())[killed.start.name] === 1);
  await until("it to answer", async () => (await again.ask("GET", "kv/before?raw")).text === "alone");
  expect(await peersOf(again)).toBe(3);
  return again;
}

/** Kills two of three, starts the second one again, buries the third one, which then comes back all the same. */
async function loseQuorum(
  [stays, second, third]: readonly [DiscoveryProcess, DiscoveryProcess, DiscoveryProcess],
  begin: (start: NodeStart) => DiscoveryProcess,
): Promise<readonly DiscoveryProcess[]> {
  for (const each of [second, third]) each.signal("SIGKILL");
  await until("no leader", async () => (await stays.ask("GET", "kv/before")).text === "No cluster leader");
  expect(await stays.ask("PUT", "kv/new", "no")).toEqual({ status: 500, text: "No cluster leader" });
  expect(await stays.dig(`${stays.start.name}.node.consul`)).toEqual([stays.start.address]);

  const back = begin(second.start);
  await until("a leader", async () => (await stays.ask("GET", "kv/before?raw")).text === "alone");
  await until("it to answer", async () => (await back.ask("GET", "kv/new")).status === 404);
  const { name } = third.start;
  await until("its death to be seen", async () => (await back.statuses())[name] === 4);
  await back.put(`agent/force-leave/${name}`);
  expect((await stays.statuses())[name]).toBe(3);
  await until("two servers", async () => (await peersOf(back)) === 2);

  // It was away when it was taken out: it joins anew, with what the others have.
  const anew = begin(third.start);
  await until("it to join anew", async () => (await peersOf(anew)) === 3);
  await until("it to be a member", async () => (await stays.statuses())[name] === 1);
  expect((await anew.ask("GET", "kv/before?raw")).text).toBe("alone");
  return [stays, back, anew];
}

test(
  "three servers: a death under writes, a return, no quorum, force-leave, leave: nothing acknowledged is lost",
  () =>
    withDirectory(async (directory) => {
      await withNodes(async (begin) => {
        const three = await beginThree(directory, begin);
        const [s1] = three.all;
        if (s1 === undefined) throw new Error("three were begun");
        // What it had while it was alone has moved with it.
        expect((await three.client.ask("GET", "kv/before?raw")).text).toBe("alone");
        const members = await s1.get<readonly { Name: string; Tags: { role: string } }[]>("agent/members");
        const servers = members.filter(({ Tags }) => Tags.role === "consul");
        expect(servers.map(({ Name }) => Name)).toEqual(["s1", "s2", "s3"]);
        const raft = await s1.get<{ Servers: readonly { Leader: boolean }[] }>("operator/raft/configuration");
        expect(raft.Servers.length).toBe(3);
        expect(raft.Servers.filter(({ Leader }) => Leader).length).toBe(1);

        const killed = await present(s1, three.all);
        const again = await outlive(killed, three, begin);
        const [stays, third] = three.all.filter((each) => each !== killed);
        if (stays === undefined || third === undefined) throw new Error("two are left");
        const all = await loseQuorum([stays, again, third], begin);

        // The one that leads leaves: another one has to take over for that.
        const leader = await present(stays, all);
        await leader.put("agent/leave");
        expect(await leader.ended()).toBe(0);
        for (const each of all.filter((one) => one !== leader)) {
          await until("two servers", async () => (await peersOf(each)) === 2);
          expect((await each.statuses())[leader.start.name]).toBe(3);
          expect((await each.ask("GET", "kv/before?raw")).text).toBe("alone");
        }
        expect(existsSync(join(directory, leader.start.name, "tls/ca.key"))).toBe(false);
      });
      await until("every etcd to end with its server", () => Promise.resolve(childrenIn(directory).length === 0));
    }),
  LONG_MS,
);

test(
  "servers that expect each other begin one cluster; a client's token makes no server",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const ports = await freePorts();
        const places = ["127.0.0.1", "127.0.0.2"].map((address) => `${address}:${ports.cluster}`);
        const flags = ["--server", "--bootstrap-expect", "2", ...places.flatMap((place) => ["--retry-join", place])];
        const start = (name: string, address: string): NodeStart => ({ name, address, ports, directory, flags });
        const [s1, s2] = [begin(start("s1", "127.0.0.1")), begin(start("s2", "127.0.0.2"))];
        for (const each of [s1, s2]) await until("two servers", async () => (await peersOf(each)) === 2);
        const token = readFileSync(join(directory, "s1/join-token"), "utf8").trim();
        const joins = ["--server", "--join", places[0] ?? "", "--token", token];
        const third = begin({ ...start("s3", "127.0.0.3"), flags: joins });
        expect(await third.ended()).toBeGreaterThan(0);
        expect(third.said).toContain("the token is not the cluster's server token");
      }),
    ),
  LONG_MS,
);
