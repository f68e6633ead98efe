import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AddressBook } from "../../src/agent/address-book.ts";
import { createAttachParts } from "../../src/agent/attach-parts.ts";
import { localNetworks } from "../../src/agent/local-network.ts";
import { createLocalSocketPart } from "../../src/agent/local-socket-part.ts";
import { askLocalAgent } from "../../src/cli/ask-local-agent.ts";
import { runCni } from "../../src/cli/run-cni.ts";
import { AppError } from "../../src/model/error.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { engineShare } from "../../src/network/split-block.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { diskFile } from "../../src/platform/files/disk-file.ts";
import { BunUnixListener } from "../../src/platform/http/bun-unix-listener.ts";
import { LinuxWiring } from "../../src/platform/linux/linux-wiring.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { Engine } from "../../src/platform/ports/engine.ts";
import { joinedState, recordingLog } from "../../src/sim/agent-fixtures.ts";
import { NetworkLab, pings } from "./network-lab.ts";
import type { Namespace } from "./network-lab.ts";

const lab = new NetworkLab("cni");
const directory = mkdtempSync(join(tmpdir(), "apollo-cni-"));
const socket = join(directory, "agent.sock");
const runner = new ProcessRunner();
const BLOCK = "10.2.1.0/24";
const GATEWAY = parseIpv4("10.2.1.1");
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
  const [clock, log] = [systemClock, recordingLog()];
  const file = diskFile(join(directory, "addresses.json"));
  const book = await AddressBook.load({ state, file, clock, log });
  state.setEngineRange(engineShare(BLOCK));
  book.see(new Set(), new Map());
  const listener = new BunUnixListener({ clock, log });
  const { parts } = createAttachParts({
    state,
    engine: noEngine,
    wiring: new LinuxWiring({ runner: host.runner }),
    listener,
    clock,
    log,
    book,
    bridgeFor: localNetworks(state, () => GATEWAY),
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

beforeAll(async () => {
  host = await lab.addNamespace("host");
  await host.runner.run(["ip", "link", "add", "apollo0", "type", "bridge"]);
  await host.runner.run(["ip", "address", "add", `${GATEWAY}/16`, "dev", "apollo0"]);
  await host.runner.run(["ip", "link", "set", "apollo0", "up"]);
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
    ips: [{ address: expect.stringMatching(/^10\.2\.1\.\d+\/16$/), gateway: GATEWAY, interface: 1 }],
    routes: [{ dst: "0.0.0.0/0", gw: GATEWAY }],
    dns: { nameservers: [GATEWAY], domain: "weave.local" },
  });
  const address = await add(two, { cniVersion: "0.3.1" });
  expect(await pings(one, address)).toBe(2);
  expect(await pings(one, GATEWAY)).toBe(2);
  expect(await code(cni("CHECK", one, { prevResult: made.value }))).toBe("ok");
  await one.runner.run(["ip", "address", "flush", "dev", "eth0"]);
  expect(await code(cni("CHECK", one))).toBe(999);
  for (const _ of [1, 2]) expect(await cni("DEL", one)).toEqual({ code: 0, value: null });
  expect((await one.runner.run(["ip", "-o", "link"])).stdout).not.toContain("eth0");
  expect(await code(cni("CHECK", one))).toBe(999);
  await cni("DEL", two);
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
