/**
 * The DNS part on port 53 of a bridge address, in a network namespace of its own: the address comes after the part has
 * started, goes and comes again; the host's resolver file follows. Needs root.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../platform/clock/system-clock.ts";

const NAMESPACE = `apollo-dns-${process.pid}`;
const GATEWAY = "10.2.1.1";
const ORIGINAL = "nameserver 192.0.2.1\n";

/** Runs in the namespace: reads nothing, says nothing, ends with SIGTERM. */
const PROGRAM = `
import { AgentState } from "${import.meta.dir}/agent-state.ts";
import { createDnsPart } from "${import.meta.dir}/dns-part.ts";
import { ResolverFile } from "${import.meta.dir}/resolver-file.ts";
import { DEFAULT_SETTINGS } from "${import.meta.dir}/../model/cluster.ts";
import { systemClock } from "${import.meta.dir}/../platform/clock/system-clock.ts";
import { systemRandom } from "${import.meta.dir}/../platform/clock/system-random.ts";
import { BunDatagramClient } from "${import.meta.dir}/../platform/udp/bun-datagram-client.ts";
import { BunListener } from "${import.meta.dir}/../platform/udp/bun-listener.ts";
const [path, dataDirectory] = process.argv.slice(-2);
const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const state = new AgentState();
state.identity = { hostId: "x", hostName: "h1", settings: DEFAULT_SETTINGS, blocks: ["10.2.1.0/24"], epoch: "e" };
state.hosts = [{ name: "h1", address: "192.0.2.9", up: true }];
const controller = new AbortController();
process.on("SIGTERM", () => controller.abort());
await createDnsPart({
  state, log, clock: systemClock, random: systemRandom, listener: new BunListener(),
  datagrams: new BunDatagramClient(systemClock), gateway: () => "${GATEWAY}",
  resolver: new ResolverFile({ path, dataDirectory }),
}).run(controller.signal);
process.exit(0);
`;

let directory = "";
let resolvConf = "";
let part: Bun.Subprocess | null = null;

async function run(...argv: readonly string[]): Promise<string> {
  const child = Bun.spawn([...argv], { stdout: "pipe", stderr: "pipe" });
  const [out] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  return out;
}

const ip = (...args: readonly string[]): Promise<string> => run("ip", "-n", NAMESPACE, ...args);
const dig = (...args: readonly string[]): Promise<string> =>
  run("ip", "netns", "exec", NAMESPACE, "dig", "+time=10", "+tries=1", "+short", ...args);

async function until(what: string, met: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 40_000;
  while (!(await met())) {
    if (Date.now() > deadline) throw new Error(`Waited 40 s for ${what}`);
    await systemClock.sleep(100);
  }
}

const answers = async (): Promise<boolean> => (await dig(`@${GATEWAY}`, "h1.node.consul")) === "192.0.2.9\n";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "apollo-dns-"));
  resolvConf = join(directory, "resolv.conf");
  await writeFile(resolvConf, ORIGINAL);
  await writeFile(join(directory, "program.ts"), PROGRAM);
  await run("ip", "netns", "add", NAMESPACE);
  await ip("link", "set", "lo", "up");
  const argv = [process.execPath, join(directory, "program.ts"), resolvConf, join(directory, "data")];
  part = Bun.spawn(["ip", "netns", "exec", NAMESPACE, ...argv], { stdout: "ignore", stderr: "inherit" });
});

afterAll(async () => {
  part?.kill("SIGKILL");
  await part?.exited;
  await run("ip", "netns", "del", NAMESPACE);
  await rm(directory, { recursive: true, force: true });
});

test("the DNS part waits for the bridge, outlives its absence, and gives the resolver back", async () => {
  await until(
    "the loopback port",
    async () => (await dig("@127.0.0.1", "-p", "8600", "h1.node.consul")) === "192.0.2.9\n",
  );
  expect(await answers()).toBe(false);
  expect(await readFile(resolvConf, "utf8")).toBe(ORIGINAL);

  await ip("link", "add", "apollo0", "type", "bridge");
  await ip("link", "set", "apollo0", "up");
  await ip("addr", "add", `${GATEWAY}/16`, "dev", "apollo0");
  await until("an answer on the bridge", answers);
  expect(await dig("+tcp", `@${GATEWAY}`, "h1.node.consul")).toBe("192.0.2.9\n");
  await until("our line in the resolver file", async () =>
    (await readFile(resolvConf, "utf8")).includes(`nameserver ${GATEWAY}`),
  );

  await ip("link", "del", "apollo0");
  await until("no answer", async () => !(await answers()));
  await ip("link", "add", "apollo0", "type", "bridge");
  await ip("link", "set", "apollo0", "up");
  await ip("addr", "add", `${GATEWAY}/16`, "dev", "apollo0");
  await until("an answer on the new bridge", answers);
  expect(await dig("+tcp", `@${GATEWAY}`, "h1.node.consul")).toBe("192.0.2.9\n");

  part?.kill("SIGTERM");
  await part?.exited;
  expect(part?.exitCode).toBe(0);
  expect(await readFile(resolvConf, "utf8")).toBe(ORIGINAL);
}, 60_000);
