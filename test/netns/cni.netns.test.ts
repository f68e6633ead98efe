import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AddressBook } from "../../src/agent/address-book.ts";
import { joinBooks } from "../../src/agent/address-books.ts";
import { createAttachParts } from "../../src/agent/attach-parts.ts";
import { localNetworks } from "../../src/agent/local-network.ts";
import { createLocalSocketPart } from "../../src/agent/local-socket-part.ts";
import { NetworkBook } from "../../src/agent/network-book.ts";
import { askLocalAgent } from "../../src/cli/ask-local-agent.ts";
import { runCni } from "../../src/cli/run-cni.ts";
import { AppError } from "../../src/model/error.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { EMPTY_NETWORK_CONFIG, parseNetworkObject } from "../../src/model/network-config.ts";
import { address6Of, gateway6Of, host6Of, network6Of } from "../../src/network/address6.ts";
import { carriedNetworks } from "../../src/network/declared-network.ts";
import { planDeclaredNetworks } from "../../src/network/plan-declared-networks.ts";
import { engineShare } from "../../src/network/split-block.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { diskFile } from "../../src/platform/files/disk-file.ts";
import { BunUnixListener } from "../../src/platform/http/bun-unix-listener.ts";
import { LinuxSegments } from "../../src/platform/linux/linux-segments.ts";
import { LinuxWiring } from "../../src/platform/linux/linux-wiring.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { Engine } from "../../src/platform/ports/engine.ts";
import { IDENTITY, joinedState, recordingLog } from "../../src/sim/agent-fixtures.ts";
import { NetworkLab, pings } from "./network-lab.ts";
import type { Namespace } from "./network-lab.ts";

const lab = new NetworkLab("cni");
const directory = mkdtempSync(join(tmpdir(), "apollo-cni-"));
const socket = join(directory, "agent.sock");
const runner = new ProcessRunner();
const BLOCK = "10.2.1.0/24";
const GATEWAY = parseIpv4("10.2.1.1");
const RANGE6 = "fd12:3456:789a::/64";
const GATEWAY6 = gateway6Of(RANGE6, GATEWAY);
/** A routed network and a segment. */
const DECLARED = [
  parseNetworkObject("network", { name: "blue", range: "10.50.0.0/16", vni: 1003 }),
  parseNetworkObject("network", { name: "lab", range: "10.9.0.0/24", mode: "layer2", vni: 1001 }),
];
let host: Namespace;
let stop: () => Promise<void>;

/** A host without a container engine. */
const noEngine: Pick<Engine, "listContainers" | "inspectContainer" | "watch"> = {
  listContainers: () => Promise.reject(new AppError("unavailable", "Cannot reach the engine")),
  inspectContainer: () => Promise.reject(new AppError("unavailable", "Cannot reach the engine")),
  watch: (_onEvent, signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
};

/** The agent's parts that CNI needs, on the kernel of `host`; a second start finds the files of the first. */
async function startAgent(): Promise<() => Promise<void>> {
  const state = joinedState();
  const networks = { blue: ["10.50.1.0/24"], lab: ["10.9.0.0/28"] };
  state.identity = { ...IDENTITY, settings: { ...IDENTITY.settings, range6: RANGE6 }, networks };
  state.networkConfig = { ...EMPTY_NETWORK_CONFIG, networks: DECLARED };
  state.setDeclared(await carryDeclared());
  const [clock, log] = [systemClock, recordingLog()];
  const file = diskFile(join(directory, "addresses.json"));
  const book = await AddressBook.load({ state, file, clock, log });
  state.setEngineRange(engineShare(BLOCK));
  book.see(new Set(), new Map());
  const networkBook = await NetworkBook.load({ state, file: diskFile(join(directory, "networks.json")), clock, log });
  const listener = new BunUnixListener({ clock, log });
  const { parts } = createAttachParts({
    state,
    engine: noEngine,
    wiring: new LinuxWiring({ runner: host.runner }),
    listener,
    clock,
    log,
    book: joinBooks(book, networkBook),
    bridgeFor: localNetworks(
      state,
      () => GATEWAY,
      () => GATEWAY6,
    ),
    dataDir: directory,
    fileAt: diskFile,
    pluginSocket: join(directory, "apollo.sock"),
  });
  const abort = new AbortController();
  const all = [...parts, createLocalSocketPart({ state, listener, clock, log, path: socket })];
  const running = Promise.all(all.map((part) => part.run(abort.signal)));
  return async () => {
    abort.abort();
    await running;
  };
}

/** The bridges of declared networks, as the agent's part makes them; returns what containers can use. */
async function carryDeclared(): Promise<ReturnType<typeof planDeclaredNetworks>["ready"]> {
  const segments = new LinuxSegments({ runner: host.runner });
  const networks = carriedNetworks(DECLARED).map((network) => ({ ...network, hosts: [] }));
  const plan = async () => planDeclaredNetworks({ local: GATEWAY, range6: RANGE6, networks }, await segments.observe());
  for (const action of (await plan()).actions) await segments.apply(action);
  return (await plan()).ready;
}

beforeAll(async () => {
  host = await lab.addNamespace("host");
  await host.runner.run(["ip", "link", "add", "apollo0", "type", "bridge"]);
  await host.runner.run(["ip", "address", "add", `${GATEWAY}/16`, "dev", "apollo0"]);
  await host.runner.run(["ip", "address", "add", `${GATEWAY6}/96`, "dev", "apollo0", "nodad"]);
  await host.runner.run(["ip", "link", "set", "apollo0", "up"]);
  await host.runner.run(["sysctl", "-q", "-w", "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"]);
  stop = await startAgent();
});
afterAll(async () => {
  await stop();
  await lab.close();
  rmSync(directory, { recursive: true });
});

interface Answer {
  readonly code: number;
  readonly value: Readonly<Record<string, unknown>> | null;
}

/** As `cnitool` and runtimes call a plugin. */
async function cni(
  command: string,
  container: Pick<Namespace, "name"> | null,
  config: Readonly<Record<string, unknown>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const { stdout, code } = await runCni({
    env: {
      CNI_COMMAND: command,
      CNI_PATH: directory,
      ...(container === null
        ? {}
        : { CNI_CONTAINERID: container.name, CNI_IFNAME: "eth0", CNI_NETNS: `/run/netns/${container.name}` }),
      ...env,
    },
    stdin: () => Promise.resolve(JSON.stringify({ cniVersion: "1.1.0", name: "net", type: "apollo-cni", ...config })),
    ask: (question) =>
      askLocalAgent({ env: { APOLLO_AGENT_SOCKET: socket }, signal: new AbortController().signal }, question),
    runner,
    isFile: (path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true,
  });
  return { code, value: stdout === "" ? null : JSON.parse(stdout) };
}

async function add(container: Namespace, config: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const { code, value } = await cni("ADD", container, config);
  expect([code, value]).toEqual([0, expect.objectContaining({ ips: expect.anything() })]);
  return (value as { readonly ips: readonly { readonly address: string }[] }).ips[0]?.address.split("/")[0] ?? "none";
}

const code = async (answer: Promise<Answer>): Promise<unknown> => (await answer).value?.["code"] ?? "ok";

test("ADD wires a namespace, CHECK sees whether it is so, DEL takes it away and may be repeated", async () => {
  const [one, two] = [await lab.addNamespace("one"), await lab.addNamespace("two")];
  expect(await code(cni("STATUS", null))).toBe("ok");
  const made = await cni("ADD", one);
  expect(made.value).toMatchObject({
    cniVersion: "1.1.0",
    interfaces: [{ name: expect.stringMatching(/^vethat/) }, { name: "eth0", sandbox: `/run/netns/${one.name}` }],
    ips: [
      { address: expect.stringMatching(/^10\.2\.1\.\d+\/16$/), gateway: GATEWAY, interface: 1 },
      { address: expect.stringMatching(/^fd12:3456:789a:0:a02:100:a02:1..\/96$/), gateway: GATEWAY6, interface: 1 },
    ],
    routes: [
      { dst: "0.0.0.0/0", gw: GATEWAY },
      { dst: RANGE6, gw: GATEWAY6 },
      { dst: "::/0", gw: GATEWAY6 },
    ],
    dns: { nameservers: [GATEWAY], domain: "weave.local" },
  });
  const address = await add(two, { cniVersion: "0.3.1" });
  expect(await pings(one, address)).toBe(2);
  expect(await pings(one, GATEWAY)).toBe(2);
  expect(await pings(one, six(address))).toBe(2);
  expect(await pings(one, GATEWAY6)).toBe(2);
  expect((await one.runner.run(["ip", "-6", "route"])).stdout).toContain(`default via ${GATEWAY6} dev eth0`);
  expect(await code(cni("CHECK", one, { prevResult: made.value }))).toBe("ok");
  await one.runner.run(["ip", "-6", "address", "flush", "dev", "eth0"]);
  expect(await code(cni("CHECK", one))).toBe(999);
  await one.runner.run(["ip", "address", "flush", "dev", "eth0"]);
  expect(await code(cni("CHECK", one))).toBe(999);
  for (const _ of [1, 2]) expect(await cni("DEL", one)).toEqual({ code: 0, value: null });
  expect((await one.runner.run(["ip", "-o", "link"])).stdout).not.toContain("eth0");
  expect(await code(cni("CHECK", one))).toBe(999);
  await cni("DEL", two);
});

/** Of a container of this host. */
function six(address: string): string {
  return address6Of(host6Of(RANGE6, GATEWAY), parseIpv4(address));
}

test("IPv6 is turned on where an engine has turned it off; an IPv6 address, routes and the older answer are as asked", async () => {
  const one = await lab.addNamespace("six1");
  await one.runner.run(["sysctl", "-q", "-w", "net/ipv6/conf/all/disable_ipv6=1"]);
  const wanted = { args: { cni: { ips: [six("10.2.1.150")] } }, routes: [{ dst: "2001:db8:9::/48" }] };
  const made = await cni("ADD", one, { ...wanted, cniVersion: "0.4.0", isDefaultGateway: false });
  expect(made.value).toMatchObject({
    ips: [
      { version: "4", address: "10.2.1.150/16" },
      { version: "6", address: `${six("10.2.1.150")}/96` },
    ],
    routes: [{ dst: RANGE6, gw: GATEWAY6 }, { dst: "2001:db8:9::/48" }],
  });
  const { stdout } = await one.runner.run(["ip", "-6", "route"]);
  expect(stdout).toContain(`2001:db8:9::/48 via ${GATEWAY6} dev eth0`);
  expect(stdout).not.toContain("default");
  expect(await pings(one, GATEWAY6)).toBe(2);
  const wrong = { args: { cni: { ips: ["10.2.1.151", six("10.2.1.152")] } } };
  expect(await code(cni("ADD", await lab.addNamespace("six2"), wrong))).toBe(7);
  await cni("DEL", one);
});

test("on a routed network containers reach each other and its gateway by both families, and routes lead there", async () => {
  const [one, two, flat] = [
    await lab.addNamespace("blue1"),
    await lab.addNamespace("blue2"),
    await lab.addNamespace("flat"),
  ];
  const blue = { network: "blue" };
  const made = await cni("ADD", one, blue);
  const gateway6 = "fd12:3456:789a::3eb:a32:1";
  expect(made.value).toMatchObject({
    ips: [
      { address: "10.50.1.2/16", gateway: "10.50.0.1" },
      { address: "fd12:3456:789a::3eb:a32:102/128", gateway: gateway6 },
    ],
    routes: [
      { dst: "0.0.0.0/0", gw: "10.50.0.1" },
      { dst: "fd12:3456:789a::3eb:0:0/96", gw: gateway6 },
      { dst: "::/0", gw: gateway6 },
    ],
    dns: { nameservers: [GATEWAY] },
  });
  const other = await add(two, blue);
  const other6 = address6Of(network6Of(RANGE6, 1003), parseIpv4(other));
  expect(await pings(one, other)).toBe(2);
  for (const to of ["10.50.0.1", gateway6, other6]) expect([to, await pings(one, to)]).toEqual([to, 2]);
  expect(await pings(host, other6)).toBe(2);
  // The resolver of the host, in the default network.
  expect(await pings(one, GATEWAY)).toBe(2);
  expect(await pings(one, GATEWAY6)).toBe(2);
  // On both: the second interface's routes beside those of the first.
  await add(flat);
  const second = await cni("ADD", flat, blue, { CNI_IFNAME: "eth1" });
  expect(second.value).toMatchObject({ ips: [{ address: "10.50.1.4/16" }, {}] });
  expect(await pings(flat, other6)).toBe(2);
  expect(await code(cni("CHECK", one, { ...blue, prevResult: made.value }))).toBe("ok");
  expect(await code(cni("ADD", await lab.addNamespace("blue4"), { network: "nope" }))).toBe(3);
  expect(await code(cni("GC", null, { ...blue, "cni.dev/valid-attachments": [] }))).toBe("ok");
  expect((await two.runner.run(["ip", "-o", "link"])).stdout).not.toContain("eth0");
});

test("on a segment there is an address of each family, and no way out of it", async () => {
  const [one, two] = [await lab.addNamespace("lab1"), await lab.addNamespace("lab2")];
  const made = await cni("ADD", one, { network: "lab" });
  expect(made.value).toMatchObject({
    ips: [{ address: "10.9.0.2/24" }, { address: "fd12:3456:789a::3e9:a09:2/96" }],
    routes: [],
  });
  expect(JSON.stringify(made.value)).not.toContain("gateway");
  await add(two, { network: "lab" });
  expect(await pings(one, "10.9.0.3")).toBe(2);
  expect(await pings(one, "fd12:3456:789a::3e9:a09:3")).toBe(2);
  expect((await one.runner.run(["ip", "-6", "route"])).stdout).not.toContain(" via ");
  for (const each of [one, two]) expect(await cni("DEL", each)).toEqual({ code: 0, value: null });
});

test("GC removes what is not valid any more, of its own network only; an address waits for DEL over the agent's restart", async () => {
  const [one, two] = [await lab.addNamespace("gc1"), await lab.addNamespace("gc2")];
  const first = await add(one);
  await add(two, { name: "other" });
  await stop();
  expect(await code(cni("ADD", one))).toBe(11);
  expect(await code(cni("STATUS", null))).toBe(50);
  stop = await startAgent();
  const valid = { "cni.dev/valid-attachments": [] };
  const three = await lab.addNamespace("gc3");
  expect(await add(three)).not.toBe(first);
  expect(await pings(one, GATEWAY)).toBe(2);
  expect(await code(cni("GC", null, valid))).toBe("ok");
  expect((await one.runner.run(["ip", "-o", "link"])).stdout).not.toContain("eth0");
  expect(await pings(two, GATEWAY)).toBe(2);
  expect(await code(cni("GC", null, { ...valid, name: "other" }))).toBe("ok");
  expect((await two.runner.run(["ip", "-o", "link"])).stdout).not.toContain("eth0");
});

test("routes, a wanted address and another IPAM plugin are taken; its address goes back when ADD fails", async () => {
  const one = await lab.addNamespace("ipam1");
  expect(
    await add(one, {
      args: { cni: { ips: ["10.2.1.177"] } },
      isDefaultGateway: false,
      routes: [{ dst: "10.9.0.0/16" }],
    }),
  ).toBe("10.2.1.177");
  const routes = (await one.runner.run(["ip", "route"])).stdout;
  expect(routes).toContain(`10.9.0.0/16 via ${GATEWAY} dev eth0`);
  expect(routes).not.toContain("default");
  expect(await code(cni("ADD", await lab.addNamespace("ipam2"), { args: { cni: { ips: ["10.2.1.177"] } } }))).toBe(999);

  const log = join(directory, "ipam.log");
  const result = {
    cniVersion: "1.1.0",
    ips: [{ address: "10.2.1.188/24", gateway: GATEWAY }],
    routes: [{ dst: "10.8.0.0/16" }],
  };
  const script = `#!/bin/sh\necho $CNI_COMMAND $CNI_CONTAINERID >> ${log}\ncat > /dev/null\ntest $CNI_COMMAND != ADD || echo '${JSON.stringify(result)}'\n`;
  writeFileSync(join(directory, "some-ipam"), script);
  chmodSync(join(directory, "some-ipam"), 0o755);
  const ipam = { ipam: { type: "some-ipam" } };
  const three = await lab.addNamespace("ipam3");
  expect(await add(three, ipam)).toBe("10.2.1.188");
  expect((await three.runner.run(["ip", "route"])).stdout).toContain(`10.8.0.0/16 via ${GATEWAY} dev eth0`);
  expect((await cni("DEL", three, ipam)).code).toBe(0);
  expect(await code(cni("ADD", { name: "never-there" }, ipam))).toBe(3);
  const calls = readFileSync(log, "utf8").trim().split("\n");
  expect(calls).toEqual([`ADD ${three.name}`, `DEL ${three.name}`, "ADD never-there", "DEL never-there"]);
  expect(await code(cni("ADD", three, { ipam: { type: "no-such" } }))).toBe(7);
  await cni("DEL", one);
});

test("what is asked wrongly is answered with the specification's codes", async () => {
  expect(await code(cni("ADD", null))).toBe(4);
  expect(await code(cni("FLY", null))).toBe(4);
  expect(await code(cni("ADD", null, { cniVersion: "9.0.0" }))).toBe(1);
  expect(await code(cni("ADD", null, { name: "" }))).toBe(7);
  expect(await code(cni("GC", null, { cniVersion: "1.0.0" }))).toBe(1);
  expect((await cni("VERSION", null)).value).toMatchObject({ supportedVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] });
});

test("the program does the same when it is started as a plugin", async () => {
  const one = await lab.addNamespace("prog");
  const main = join(import.meta.dir, "../../src/cli/main.ts");
  const call = async (command: string): Promise<string> => {
    const { stdout } = await runner.run([process.execPath, main, "cni"], {
      stdin: JSON.stringify({ cniVersion: "1.0.0", name: "net", type: "apollo-cni" }),
      env: {
        APOLLO_AGENT_SOCKET: socket,
        CNI_COMMAND: command,
        CNI_CONTAINERID: one.name,
        CNI_IFNAME: "eth0",
        CNI_NETNS: `/run/netns/${one.name}`,
      },
    });
    return stdout;
  };
  expect(JSON.parse(await call("ADD"))).toMatchObject({ cniVersion: "1.0.0" });
  expect(await pings(one, GATEWAY)).toBe(2);
  expect(await call("DEL")).toBe("");
});

test("only root may ask the agent", () => {
  expect(statSync(socket).mode & 0o777).toBe(0o600);
});
