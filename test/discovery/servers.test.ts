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

test(
  "three servers: the leader is killed under writes, nothing acknowledged is lost, it comes back, and one leaves",
  () =>
    withDirectory(async (directory) => {
      await withNodes(async (begin) => {
        const [one, two, three] = await threeServers(directory);
        if (one === undefined || two === undefined || three === undefined) throw new Error("three were asked for");
        const s1 = begin(one);
        await s1.ready();
        await s1.put("kv/before", "alone");
        const all = [s1, begin(two), begin(three)];
        const [, s2, s3] = all;
        if (s2 === undefined || s3 === undefined) throw new Error("three were begun");
        await until("three servers", async () => (await peersOf(s3)) === 3 && (await peersOf(s2)) === 3);
        await until("three members", async () => Object.values(await s2.statuses()).join() === "1,1,1");
        // What it had while it was alone has moved with it.
        expect((await s3.ask("GET", "kv/before?raw")).text).toBe("alone");
        const members = await s3.get<readonly { Tags: { role: string } }[]>("agent/members");
        expect(members.map(({ Tags }) => Tags.role)).toEqual(["consul", "consul", "consul"]);
        const raft = await s2.get<{ Servers: readonly { Leader: boolean }[] }>("operator/raft/configuration");
        expect(raft.Servers.filter(({ Leader }) => Leader).length).toBe(1);

        const joins = { name: "c1", address: "127.0.0.4", ports: one.ports, directory };
        const writer = begin({ ...joins, flags: ["--join", `127.0.0.1:${one.ports.cluster}`] });
        await writer.ready();
        const killed = await present(s1, all);
        const others = all.filter((each) => each !== killed);
        const [reader] = others;
        if (reader === undefined) throw new Error("two are left");
        const acknowledged: number[] = [];
        let stop = false;
        const writing = (async () => {
          for (let at = 0; !stop; at += 1) {
            const answer = await writer.ask("PUT", `kv/n/${at}`, String(at)).catch(() => null);
            if (answer?.status === 200 && answer.text.trim() === "true") acknowledged.push(at);
            else await systemClock.sleep(20);
          }
        })();
        await until("writes", () => Promise.resolve(acknowledged.length > 20));
        const before = acknowledged.length;
        killed.signal("SIGKILL");
        await killed.ended();
        const goneMs = await until("writes to go on", () => Promise.resolve(acknowledged.length > before + 20));
        console.log(`a new leader took writes ${Math.round(goneMs)} ms after the death of the old one`);
        stop = true;
        await writing;
        const next = await present(reader, all);
        expect(next).not.toBe(killed);
        const kept = await reader.get<readonly string[]>("kv/n/?keys");
        const lost = acknowledged.filter((at) => !kept.includes(`n/${at}`));
        expect(lost).toEqual([]);
        await until("its death to be seen", async () => (await reader.statuses())[killed.start.name] === 4);

        const again = begin(killed.start);
        await until("it to be back", async () => (await reader.statuses())[killed.start.name] === 1);
        await until("it to answer", async () => (await again.ask("GET", "kv/n/1?raw")).text === "1");
        expect(await peersOf(again)).toBe(3);

        // The one that leads leaves: another one has to take over for that.
        await next.put("agent/leave");
        expect(await next.ended()).toBe(0);
        const rest = [again, ...others].filter((each) => each !== next);
        for (const each of rest) {
          await until("two servers", async () => (await peersOf(each)) === 2);
          expect((await each.statuses())[next.start.name]).toBe(3);
          expect((await each.ask("GET", "kv/n/1?raw")).text).toBe("1");
        }
        expect(existsSync(join(directory, next.start.name, "tls/ca.key"))).toBe(false);
      });
      await until("every etcd to end with its server", () => Promise.resolve(childrenIn(directory).length === 0));
    }),
  LONG_MS,
);

test(
  "without a quorum nothing is taken, DNS goes on, and force-leave needs a leader",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const starts = await threeServers(directory);
        const all = starts.map(begin);
        const [s1, s2, s3] = all;
        if (s1 === undefined || s2 === undefined || s3 === undefined) throw new Error("three were asked for");
        await until("three servers", async () => (await peersOf(s1)) === 3);
        await until("three members", async () => Object.values(await s1.statuses()).join() === "1,1,1");
        await s1.put("kv/kept", "yes");
        for (const each of [s2, s3]) each.signal("SIGKILL");
        await until("no leader", async () => (await s1.ask("GET", "kv/kept")).text === "No cluster leader");
        expect(await s1.ask("PUT", "kv/new", "no")).toEqual({ status: 500, text: "No cluster leader" });
        expect(await s1.dig("s1.node.consul")).toEqual(["127.0.0.1"]);

        const back = begin(s2.start);
        await until("a leader", async () => (await s1.ask("GET", "kv/kept?raw")).text === "yes");
        await until("it to answer", async () => (await back.ask("GET", "kv/new")).status === 404);
        await until("its death to be seen", async () => (await back.statuses())["s3"] === 4);
        await back.put("agent/force-leave/s3");
        expect((await s1.statuses())["s3"]).toBe(3);
        await until("two servers", async () => (await peersOf(back)) === 2);

        // It was away when it was taken out: it joins anew, with what the others have.
        const anew = begin(s3.start);
        await until("it to join anew", async () => (await peersOf(anew)) === 3);
        await until("it to be a member", async () => (await s1.statuses())["s3"] === 1);
        expect((await anew.ask("GET", "kv/kept?raw")).text).toBe("yes");
      }),
    ),
  LONG_MS,
);

test(
  "servers that expect each other begin one cluster; a client's token makes no server",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const ports = await freePorts();
        const addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
        const joins = addresses.flatMap((address) => ["--retry-join", `${address}:${ports.cluster}`]);
        const flags = ["--server", "--bootstrap-expect", "3", ...joins];
        const starts = addresses.map((address, at) => ({ name: `s${at + 1}`, address, ports, directory, flags }));
        const [s1, s2, s3] = starts.map(begin);
        if (s1 === undefined || s2 === undefined || s3 === undefined) throw new Error("three were asked for");
        for (const each of [s1, s2, s3]) await until("three servers", async () => (await peersOf(each)) === 3);
        const token = readFileSync(join(directory, "s1/join-token"), "utf8").trim();
        const join4 = ["--server", "--join", `127.0.0.1:${ports.cluster}`, "--token", token];
        const fourth = begin({ name: "s4", address: "127.0.0.4", ports, directory, flags: join4 });
        expect(await fourth.ended()).toBeGreaterThan(0);
        expect(fourth.said).toContain("the token is not the cluster's server token");
      }),
    ),
  LONG_MS,
);
