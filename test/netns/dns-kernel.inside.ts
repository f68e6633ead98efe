/**
 * What runs in the namespaces of dns-kernel.netns.test.ts, one JSON command a line and one JSON answer each: `agent DIRECTORY`, the DNS and
 * fast path parts of an agent, or `asker`, a client that sends datagrams as they are given.
 */
import { createInterface } from "node:readline";
import { AgentState } from "../../src/agent/agent-state.ts";
import { createDnsPart } from "../../src/agent/dns-part.ts";
import { createFastPathPart } from "../../src/agent/fast-path-part.ts";
import { fixedResolver } from "../../src/agent/resolver-file.ts";
import { DEFAULT_SETTINGS } from "../../src/model/cluster.ts";
import type { Endpoint } from "../../src/model/endpoint.ts";
import type { HostId } from "../../src/model/ids.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { type DnsCounts, WIRE_VERSION } from "../../src/model/wire.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { BpfKernel } from "../../src/platform/linux/fast-path/bpf-kernel.ts";
import { LinuxFastPath } from "../../src/platform/linux/fast-path/linux-fast-path.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import { BunDatagramClient } from "../../src/platform/udp/bun-datagram-client.ts";
import { BunListener } from "../../src/platform/udp/bun-listener.ts";
import { SILENT_LOG } from "../../src/sim/silent-log.ts";

export type AgentCommand =
  | { readonly kind: "ports"; readonly ports: readonly LocalPort[]; readonly guarded: readonly string[] }
  | { readonly kind: "catalog"; readonly upsert: readonly Endpoint[]; readonly remove: readonly string[] }
  | { readonly kind: "leave" }
  | { readonly kind: "look" };

export interface AgentLook {
  readonly counts: DnsCounts | null;
  readonly conditions: readonly string[];
  readonly on: boolean;
  /** Numbers of the programs at loopback. */
  readonly loopback: readonly number[];
}

/** Sends each, in hexadecimal, and waits for its answer. */
export interface AskerCommand {
  readonly datagrams: readonly string[];
  readonly to: string;
  readonly port: number;
  readonly waitMs: number;
  /** Of sockets that belong to one peer: "connected". Otherwise the address that it is bound to; any when missing. */
  readonly from?: string;
}

/** Null: none came. */
export type AskerAnswer = readonly (string | null)[];

async function runAgent(directory: string, object: string): Promise<void> {
  const state = new AgentState();
  const fastPath = new LinuxFastPath({
    runner: new ProcessRunner(),
    directory,
    object: () => Bun.file(object).bytes(),
  });
  const fixed = { state, clock: systemClock, log: SILENT_LOG };
  const path = createFastPathPart({ ...fixed, fastPath, enabled: true });
  const dns = createDnsPart({
    ...fixed,
    listener: new BunListener(),
    datagrams: new BunDatagramClient(systemClock),
    random: systemRandom,
    gateway: () => parseIpv4("10.2.1.1"),
    resolver: fixedResolver([]),
    kernel: fastPath.answers,
  });
  const kernel = new BpfKernel();
  let revision = 1;
  const identity = { hostId: "x" as HostId, hostName: "own", settings: DEFAULT_SETTINGS, epoch: "e" };
  state.receive({ type: "welcome", wire: WIRE_VERSION, ...identity, blocks: ["10.2.1.0/24"] });
  state.receive({ type: "catalog", reset: true, revision, upsert: [], remove: [], hosts: [] });
  state.setWays([]);
  const stop = new AbortController();
  const running = Promise.all([path.run(stop.signal), dns.run(stop.signal)]);
  await answerLines(async (command: AgentCommand): Promise<AgentLook> => {
    if (command.kind === "catalog") {
      const { upsert, remove } = command;
      state.receive({ type: "catalog", reset: false, revision: ++revision, upsert, remove, hosts: null });
    }
    if (command.kind === "ports") {
      state.setSlowRanges("policy", { policy: command.guarded, virtual: [] });
      state.setPorts("engine", command.ports);
    }
    if (command.kind === "leave") {
      stop.abort();
      await running;
      await fastPath.remove();
      return { counts: null, conditions: [], on: false, loopback: kernel.ingressPrograms(1) };
    }
    const conditions = state.conditions().map(({ text }) => text);
    const { on } = path.mode();
    return { counts: on ? (await fastPath.counters()).dns : null, conditions, on, loopback: kernel.ingressPrograms(1) };
  });
}

async function runAsker(): Promise<void> {
  let take: (answer: string) => void = () => undefined;
  // That nobody listens is a question without an answer like others.
  const handler = { data: (_: unknown, answer: Buffer) => take(answer.toString("hex")), error: () => undefined };
  const senders = new Map<string, Promise<(bytes: Buffer) => void>>();
  const makeSender = async ({ to, port, from }: AskerCommand): Promise<(bytes: Buffer) => void> => {
    const any = to.includes(":") ? "::" : "0.0.0.0";
    if (from === "connected") {
      const socket = await Bun.udpSocket({ hostname: any, connect: { hostname: to, port }, socket: handler });
      return (bytes) => socket.send(bytes);
    }
    const hostname = from ?? any;
    const socket = await Bun.udpSocket({ hostname, socket: handler });
    return (bytes) => socket.send(bytes, port, to);
  };
  await answerLines(async (command: AskerCommand): Promise<AskerAnswer> => {
    const { datagrams, to, port, from, waitMs } = command;
    const key = `${to} ${port} ${from}`;
    const sender = senders.get(key) ?? makeSender(command);
    senders.set(key, sender);
    const send = await sender;
    const answers: (string | null)[] = [];
    for (const datagram of datagrams) {
      const stop = new AbortController();
      const answer = new Promise<string>((resolve) => {
        take = resolve;
      });
      send(Buffer.from(datagram, "hex"));
      answers.push(await Promise.race([answer, systemClock.sleep(waitMs, stop.signal).then(() => null)]));
      stop.abort();
    }
    return answers;
  });
}

async function answerLines<C, A>(answer: (command: C) => A | Promise<A>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(JSON.parse(line) as C)));
  }
}

if (import.meta.main) {
  const [role, directory = "", object = ""] = process.argv.slice(2);
  await (role === "agent" ? runAgent(directory, object) : runAsker());
  process.exit(0);
}
