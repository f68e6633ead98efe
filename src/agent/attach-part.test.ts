import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import { gateway6Of } from "../network/address6.ts";
import { IDENTITY, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { FAKE_IMAGE, FakeEngine } from "../sim/fake-engine.ts";
import { FakeWiring } from "../sim/fake-wiring.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { PLAIN_CONTAINER } from "../sim/plain-container.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import type { AgentState } from "./agent-state.ts";
import { AttachPart } from "./attach-part.ts";
import { localNetworks } from "./local-network.ts";
import { registerAttachQueries } from "./attach-queries.ts";
import { AddressBook } from "./address-book.ts";

/** What stays when the agent ends: kernel, engine, disk. */
class Machine {
  readonly clock = new VirtualClock();
  readonly engine = new FakeEngine({ clock: this.clock, images: { "app:0": FAKE_IMAGE } });
  readonly wiring = new FakeWiring(this.clock);
  readonly file = new MemoryFile("attachments.json", this.clock);
  readonly addresses = new MemoryFile("addresses.json", this.clock);
  pid: number | null = null;

  constructor() {
    this.wiring.startNamespace("/proc/self/ns/net");
  }

  /** A container on a network of the engine's own, its namespace with it. */
  async start(): Promise<string> {
    const subnet = "172.18.0.0/16";
    const network = {
      name: "other",
      subnet,
      ipRange: subnet,
      gateway: parseIpv4("172.18.0.1"),
      reserved: {},
      options: {},
    };
    await this.clock.settle(this.engine.createNetwork(network));
    const id = await this.clock.settle(
      this.engine.createContainer({ ...PLAIN_CONTAINER, name: "db", network: "other" }),
    );
    await this.clock.settle(this.engine.startContainer(id));
    await this.follow(id);
    return id;
  }

  /** The kernel's side of what the engine did. */
  async follow(id: string): Promise<void> {
    const pid = (await this.clock.settle(this.engine.inspectContainer(id)))?.pid ?? null;
    if (this.pid !== null) this.wiring.endProcess(this.pid);
    if (pid !== null) this.wiring.startProcess(pid, String(pid));
    this.pid = pid;
  }
}

const RANGE6 = "fd12:3456:789a::/64";

async function startAgent(
  machine: Machine,
  range6: string | null = null,
): Promise<{
  readonly state: AgentState;
  readonly ask: (kind: string, fields?: object) => Promise<unknown>;
  readonly part: AttachPart;
  readonly stop: () => Promise<void>;
}> {
  const { clock, engine, wiring } = machine;
  const state = joinedState();
  const gateway = parseIpv4("10.2.1.1");
  state.identity = { ...IDENTITY, settings: { ...IDENTITY.settings, range6 } };
  const bridgeFor = localNetworks(
    state,
    () => gateway,
    () => (range6 === null ? null : gateway6Of(range6, gateway)),
  );
  const log = recordingLog();
  const book = await clock.settle(AddressBook.load({ state, file: machine.addresses, clock, log }));
  state.setEngineRange("10.2.1.0/25");
  book.see(new Set(), new Map());
  const part = new AttachPart({ state, engine, wiring, book, file: machine.file, clock, log, bridgeFor });
  registerAttachQueries({ state, part, engine, wiring, bridgeFor });
  const abort = new AbortController();
  const running = part.run(abort.signal);
  return {
    state,
    part,
    ask: (kind, fields = {}) => clock.settle(state.queries.ask({ kind, ...fields }, abort.signal)),
    stop: async () => {
      abort.abort();
      await clock.settle(running);
    },
  };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => (error instanceof AppError ? error.code : "other"),
  );
}

const wired = ({ pid }: Machine): string => `10.2.1.130 on apollo0 to /proc/${pid}/ns/net`;

test("an attachment follows its container over restarts of container and agent, until it is detached", async () => {
  const machine = new Machine();
  const id = await machine.start();
  const first = await startAgent(machine);
  expect(await first.ask("attach", { target: id })).toMatchObject({ what: "db", address: "10.2.1.130", name: "db" });
  expect(await first.ask("attach", { target: "db" })).toMatchObject({ address: "10.2.1.130" });
  expect(String(machine.wiring)).toBe(wired(machine));
  expect(first.state.names).toMatchObject([{ name: "db", address: "10.2.1.130" }]);
  expect(first.state.localHolders()).toMatchObject([{ container: "db", address: "10.2.1.130", network: "apollo" }]);
  expect(first.part.wiredPorts()).toMatchObject([{ mac: "02:42:0a:02:01:82", container: "db" }]);

  await machine.clock.settle(machine.engine.stopContainer(id, 0));
  await machine.follow(id);
  await machine.clock.advanceUntil("the condition", () =>
    first.state.conditions().some(({ code }) => code === "attachment-waits"),
  );
  await machine.clock.settle(machine.engine.startContainer(id));
  await machine.follow(id);
  await machine.clock.advanceUntil("the wire", () => String(machine.wiring) === wired(machine));
  await first.stop();

  await machine.clock.settle(machine.engine.stopContainer(id, 0));
  await machine.clock.settle(machine.engine.startContainer(id));
  await machine.follow(id);
  expect(String(machine.wiring)).toBe("");
  const second = await startAgent(machine);
  await machine.clock.advanceUntil("the wire again", () => String(machine.wiring) === wired(machine));
  expect(await second.ask("detach", { target: "db" })).toMatchObject([{ address: "10.2.1.130" }]);
  expect(String(machine.wiring)).toBe("");
  expect(second.state.names).toEqual([]);
  expect(await codeOf(second.ask("detach", { target: "db" }))).toBe("not-found");
  await second.stop();
});

test("a process's attachment ends with it, and its address is free again", async () => {
  const machine = new Machine();
  machine.wiring.startProcess(7, "100");
  const agent = await startAgent(machine);
  await agent.ask("attach", { target: "pid:7", name: "tool" });
  expect(String(machine.wiring)).toBe("10.2.1.130 on apollo0 to /proc/7/ns/net");
  machine.wiring.endProcess(7);
  // Another process with its number is another process.
  machine.wiring.startProcess(7, "200");
  await machine.clock.advanceUntil("its end", () => agent.state.names.length === 0);
  await machine.clock.advance(1000);
  expect([String(machine.wiring), machine.addresses.text]).toEqual(["", expect.stringContaining('"owners": {}')]);
  await agent.stop();
});

test("expose and hide may be repeated; what is exposed comes back after a reboot", async () => {
  const machine = new Machine();
  const agent = await startAgent(machine);
  const address = { address: "10.2.1.130", address6: null, name: "legacy" };
  for (const _ of [1, 2]) expect(await agent.ask("expose", { name: "Legacy" })).toEqual(address);
  expect(String(machine.wiring)).toBe("exposed 10.2.1.130");
  await agent.stop();
  await machine.clock.settle(machine.wiring.hide(parseIpv4("10.2.1.130")));
  const second = await startAgent(machine);
  await machine.clock.advanceUntil("the address", () => String(machine.wiring) === "exposed 10.2.1.130");
  expect(await second.ask("hide")).toEqual([address]);
  expect(await second.ask("hide")).toEqual([]);
  expect(String(machine.wiring)).toBe("");
  await second.stop();
});

test("where there is IPv6, attachments and exposed addresses have both, and so have names and holders", async () => {
  const machine = new Machine();
  await machine.start();
  const agent = await startAgent(machine, RANGE6);
  const [six, seven] = ["fd12:3456:789a:0:a02:100:a02:182", "fd12:3456:789a:0:a02:100:a02:183"];
  expect(await agent.ask("attach", { target: "db" })).toMatchObject({ address: "10.2.1.130", address6: six });
  expect(await agent.ask("expose", { name: "legacy" })).toMatchObject({ address: "10.2.1.131", address6: seven });
  expect(String(machine.wiring).split("\n")).toEqual([
    `10.2.1.130 ${six} on apollo0 to /proc/${machine.pid}/ns/net`,
    "exposed 10.2.1.131",
    `exposed ${seven}`,
  ]);
  expect(agent.state.localHolders().map(({ address6 }) => String(address6))).toEqual([six]);
  expect(agent.state.names.map(({ name, address6 }) => [name, String(address6)])).toEqual([
    ["db", six],
    ["legacy", seven],
  ]);
  expect(agent.part.wiredPorts()?.map(({ addresses6 }) => String(addresses6))).toEqual([six]);
  await agent.stop();
  // What was attached before there was a range keeps what it has, over restarts too.
  const plain = await startAgent(machine, null);
  expect(await plain.ask("attachments")).toMatchObject({ attachments: [{ address6: six }] });
  await plain.stop();
});

test("what cannot be attached is refused and leaves nothing declared", async () => {
  const machine = new Machine();
  await machine.start();
  const agent = await startAgent(machine);
  const refused = (fields: object): Promise<string> => codeOf(agent.ask("attach", fields));
  expect(await refused({ target: "nobody" })).toBe("not-found");
  expect(await refused({ target: "netns:/run/netns/none" })).toBe("not-found");
  expect(await refused({ target: "netns:/proc/self/ns/net" })).toBe("invalid");
  expect(await refused({ target: "db", address: "10.2.9.1" })).toBe("invalid");
  expect(await refused({ target: "db", network: "other" })).toBe("not-found");
  expect(await refused({ target: "db", surprise: 1 })).toBe("invalid");
  await agent.ask("attach", { target: "db" });
  expect(await refused({ target: "db", address: "10.2.1.9" })).toBe("conflict");
  expect(await agent.ask("attachments")).toMatchObject({ attachments: [{ what: "db" }], exposures: [] });
  machine.file.full = true;
  expect(await codeOf(agent.ask("expose"))).toBe("unavailable");
  machine.file.full = false;
  expect(String(machine.wiring)).toBe(wired(machine));
  await agent.stop();
});

test("while the engine does not answer, wires stay; a bridge made anew gets them back", async () => {
  const machine = new Machine();
  await machine.start();
  const agent = await startAgent(machine);
  await agent.ask("attach", { target: "db" });
  machine.engine.goDown();
  machine.wiring.bridges.clear();
  await machine.clock.advance(60_000);
  machine.wiring.bridges.add("apollo0");
  await machine.clock.advance(30_000);
  expect(String(machine.wiring)).toBe(wired(machine));
  await agent.stop();
});

test("an address that a broken-off detach kept is given back", async () => {
  const machine = new Machine();
  machine.addresses.text = JSON.stringify({ "attach:gone@apollo": "10.2.1.130" });
  const agent = await startAgent(machine);
  await agent.ask("expose", { name: "a" });
  await machine.clock.advanceUntil("the release", () => machine.addresses.text?.includes("gone") === false);
  expect(JSON.parse(machine.addresses.text ?? "{}")).toMatchObject({ owners: { "expose:a:": "10.2.1.131" } });
  await agent.stop();
});
