/** The DNS part on real sockets of loopback, asked by `dig`, with a real dnsmasq as the outside. Needs no root. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { BunDatagramClient } from "../platform/udp/bun-datagram-client.ts";
import { BunListener } from "../platform/udp/bun-listener.ts";
import { AgentState } from "./agent-state.ts";
import { createDnsPart } from "./dns-part.ts";
import { fixedResolver } from "./resolver-file.ts";
import { type EndpointChange, endpointOf } from "../model/endpoint.fixture.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";

const LOOPBACK = parseIpv4("127.0.0.1");

/** Of the other host. */
function endpoint({ name, ...change }: EndpointChange & { readonly name: string }): Endpoint {
  return endpointOf({ id: `h2:${name}:8080`, host: "h2", container: name, ...change });
}

const WEB = [
  endpoint({ name: "a", service: "web", address: "10.2.2.1", tags: ["v1"] }),
  endpoint({ name: "b", service: "web", address: "10.2.2.2", tags: ["v2"] }),
  endpoint({ name: "c", service: "web", address: "10.2.2.3", tags: ["v2"] }),
];
const MANY = Array.from({ length: 100 }, (_, index) =>
  endpoint({ name: `m${index}`, service: "many", address: `10.2.3.${index + 1}` }),
);

const state = new AgentState();
const controller = new AbortController();
let directory = "";
let port = 0;
let consulPort = 0;
let outside: Bun.Subprocess | null = null;
let running: Promise<void> = Promise.resolve();

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  server.stop(true);
  return server.port;
}

async function dig(...args: readonly string[]): Promise<readonly string[]> {
  const child = Bun.spawn(["dig", "@127.0.0.1", "-p", String(port), "+time=10", "+tries=2", ...args], {
    stdout: "pipe",
  });
  const text = await new Response(child.stdout).text();
  await child.exited;
  return text.split("\n").filter((line) => line !== "");
}

/** Asks until the answer is there, for things that start beside us. */
async function until(what: string, met: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await met())) {
    if (Date.now() > deadline) throw new Error(`Waited 20 s for ${what}`);
    await systemClock.sleep(50);
  }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "apollo-dns-"));
  [port, consulPort] = [freePort(), freePort()];
  const upstream = freePort();
  const many = Array.from({ length: 60 }, (_, index) => `--host-record=big.outside.test,198.51.100.${index + 1}`);
  outside = Bun.spawn(
    [
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--bind-interfaces",
      "--listen-address=127.0.0.1",
      `--port=${upstream}`,
      `--pid-file=${join(directory, "pid")}`,
      "--user=",
      "--local=/test/",
      "--local-ttl=60",
      "--host-record=www.outside.test,198.51.100.9",
      ...many,
    ],
    { stdout: "ignore", stderr: "ignore" },
  );
  state.identity = { hostId: "x" as HostId, hostName: "h1", settings: DEFAULT_SETTINGS, blocks: [], epoch: "e" };
  state.receive({
    type: "catalog",
    reset: true,
    revision: 7,
    upsert: [...WEB, ...MANY],
    remove: [],
    hosts: [{ name: "h1", address: LOOPBACK, up: true }],
  });
  running = createDnsPart({
    state,
    listener: new BunListener(),
    datagrams: new BunDatagramClient(systemClock),
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    gateway: () => LOOPBACK,
    resolver: fixedResolver([LOOPBACK]),
    ports: { gateway: port, loopback: consulPort, upstream },
  }).run(controller.signal);
  await until("our DNS and the outside", async () =>
    (await dig("+short", "www.outside.test")).includes("198.51.100.9"),
  );
});

afterAll(async () => {
  controller.abort();
  await running;
  outside?.kill();
  await outside?.exited;
  await rm(directory, { recursive: true, force: true });
});

test("dig gets all addresses of a service, in changing order", async () => {
  expect((await dig("+short", "web.service.consul")).toSorted()).toEqual(["10.2.2.1", "10.2.2.2", "10.2.2.3"]);
  const questions = Array.from({ length: 40 }, () => ["web.service.consul", "A"]).flat();
  const answers = await dig("+short", ...questions);
  expect(answers.length).toBe(120);
  expect(new Set(answers.filter((_, index) => index % 3 === 0)).size).toBe(3);
});

test("dig gets tags, SRV with addresses, and the Consul port", async () => {
  expect(await dig("+short", "v1.web.service.consul")).toEqual(["10.2.2.1"]);
  const srv = await dig("+noall", "+answer", "+additional", "_web._tcp.service.consul", "SRV");
  expect(srv.length).toBe(6);
  expect(srv.filter((line) => line.includes("SRV")).every((line) => line.includes(".addr.dc1.consul."))).toBe(true);
  expect(await dig("-p", String(consulPort), "+short", "h1.node.consul")).toEqual(["127.0.0.1"]);
});

test("dig sees NXDOMAIN and no data, both with SOA", async () => {
  const missing = (await dig("nobody.service.consul")).join("\n");
  expect(missing).toMatch(/status: NXDOMAIN[^]*flags: qr aa rd ra[^]*\bSOA\tns\.consul\. hostmaster\.consul\./);
  const noData = (await dig("web.service.consul", "AAAA")).join("\n");
  expect(noData).toMatch(/status: NOERROR[^]*ANSWER: 0[^]*\bSOA\t/);
  expect(missing).not.toContain("WARNING");
});

test("dig goes over to TCP for a hundred endpoints", async () => {
  expect((await dig("+noedns", "+ignore", "many.service.consul")).join("\n")).toMatch(/flags: qr aa tc rd ra/);
  const text = await dig("+noedns", "many.service.consul", "SRV");
  expect(text.join("\n")).toContain("Truncated, retrying in TCP mode");
  expect(text.filter((line) => /\tSRV\t/.test(line)).length).toBe(100);
  expect((await dig("+tcp", "+keepopen", "+short", "many.service.consul", "A", "web.service.consul", "A")).length).toBe(
    103,
  );
});

test("dig gets outside names, also long ones over TCP, and the outside's NXDOMAIN", async () => {
  expect(await dig("+short", "WWW.outside.test")).toEqual(["198.51.100.9"]);
  expect((await dig("+short", "+noedns", "big.outside.test")).length).toBe(60);
  expect((await dig("nothing.outside.test")).join("\n")).toContain("status: NXDOMAIN");
});

test("an endpoint that leaves is out of the next answer, and the applied revision says so", async () => {
  expect(state.appliedRevision()).toBe(7);
  state.receive({ type: "catalog", reset: false, revision: 8, upsert: [], remove: ["h2:a:8080"], hosts: null });
  expect(state.appliedRevision()).toBe(8);
  expect((await dig("+short", "web.service.consul")).toSorted()).toEqual(["10.2.2.2", "10.2.2.3"]);
  state.setLocalEndpoints([
    endpoint({ name: "local", service: "web", address: "10.2.1.9", id: "h1:local:8080", host: "h1" }),
  ]);
  expect((await dig("+short", "web.service.consul")).length).toBe(3);
});

test("BunListener says which address is taken or not there", async () => {
  const listener = new BunListener();
  const refused = async (act: Promise<unknown>): Promise<string> =>
    act.then(
      () => "bound",
      (error: unknown) => (error instanceof Error && "code" in error ? String(error.code) : "other"),
    );
  expect(await refused(listener.bindUdp("127.0.0.1", port, () => undefined))).toBe("conflict");
  expect(await refused(listener.bindTcp("127.0.0.1", port, () => undefined))).toBe("conflict");
  expect(await refused(listener.bindUdp("192.0.2.77", port, () => undefined))).toBe("unavailable");
  expect(await refused(listener.bindTcp("192.0.2.77", port, () => undefined))).toBe("unavailable");
});

test("BunDatagramClient gives null for a closed port, at once", async () => {
  const client = new BunDatagramClient(systemClock);
  const closed = freePort();
  expect(await client.ask(new Uint8Array(12), LOOPBACK, closed, 10_000)).toBeNull();
  expect(await client.askStream(new Uint8Array(12), LOOPBACK, closed, 10_000)).toBeNull();
});
