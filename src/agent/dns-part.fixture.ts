import { Buffer } from "node:buffer";
import packet from "dns-packet";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { type Ipv4, parseIpv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Binding, DatagramClient, DatagramHandler, Listener } from "../platform/ports/listener.ts";
import { FakeKernelAnswers } from "../sim/fake-kernel-answers.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";
import { AgentState } from "./agent-state.ts";
import { createDnsPart } from "./dns-part.ts";
import type { HostResolver } from "./resolver-file.ts";

export const CONTAINER = parseIpv4("10.2.1.5");

/** Every sleep waits for the next `tick`, whatever its length: the part's passes are driven one by one. */
export class StepClock implements Clock {
  readonly #wakers = new Set<() => void>();
  nowMs = (): number => 0;
  monotonicMs = (): number => 0;

  sleep(_: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wakers.add(resolve);
      if (signal?.aborted === true) resolve();
      else signal?.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  async tick(): Promise<void> {
    for (const wake of this.#wakers) wake();
    this.#wakers.clear();
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  }
}

/** Sockets by address; only addresses of this host can be bound, each once. */
export class FakeListener implements Listener {
  readonly addresses = new Set(["127.0.0.1"]);
  readonly taken = new Set<string>();
  readonly open = new Map<string, DatagramHandler | null>();

  bindUdp = (address: string, port: number, handler: DatagramHandler): Promise<Binding> =>
    this.#bind("udp", address, { port, handler });
  bindTcp = (address: string, port: number): Promise<Binding> => this.#bind("tcp", address, { port, handler: null });

  async #bind(
    kind: string,
    address: string,
    socket: { port: number; handler: DatagramHandler | null },
  ): Promise<Binding> {
    const key = `${kind} ${address}:${socket.port}`;
    await Promise.resolve();
    if (!this.addresses.has(address)) throw new AppError("unavailable", `Cannot listen on ${key}: no such address`);
    if (this.taken.has(key) || this.open.has(key)) throw new AppError("conflict", `Cannot listen on ${key}: taken`);
    this.open.set(key, socket.handler);
    return { address, port: socket.port, close: () => this.open.delete(key) };
  }
}

export class FakeResolver implements HostResolver {
  installed: Ipv4 | null = null;
  fault: Condition | null = null;

  install({ nameserver }: { readonly nameserver: Ipv4 }): Promise<Condition | null> {
    if (this.fault === null) this.installed = nameserver;
    return Promise.resolve(this.fault);
  }

  restore(): Promise<Condition | null> {
    this.installed = null;
    return Promise.resolve(null);
  }

  nameservers = (): readonly Ipv4[] => [parseIpv4("192.0.2.53")];
  refresh = (): Promise<void> => Promise.resolve();
}

/** A DNS part over fakes. */
export class Bench {
  readonly state = new AgentState();
  readonly listener = new FakeListener();
  readonly resolver = new FakeResolver();
  readonly clock = new StepClock();
  readonly asked: string[] = [];
  readonly kernel = new FakeKernelAnswers();
  /** Rules of the host drop what the kernel says to it. */
  dropsKernelAnswers = false;
  gateway: Ipv4 | null = null;
  readonly #controller = new AbortController();
  #done: Promise<void> = Promise.resolve();

  async start(): Promise<void> {
    const silent = (_: Uint8Array, server: HostAddress, port: number): Promise<null> => {
      this.asked.push(`${server}:${port}`);
      return Promise.resolve(null);
    };
    const ask = (bytes: Uint8Array, server: HostAddress, port: number): Promise<Uint8Array | null> => {
      const isSeat = this.kernel.seats.some((seat) => seat.address === server && seat.port === port);
      if (!isSeat || this.dropsKernelAnswers) return silent(bytes, server, port);
      return Promise.resolve(this.kernel.ask(bytes)[0] ?? null);
    };
    const datagrams: DatagramClient = { ask, askStream: silent };
    const random = { next: () => 0, uuid: () => "", secret: () => "" };
    const { state, listener, resolver, clock, kernel } = this;
    const gateway = (): Ipv4 | null => this.gateway;
    const part = createDnsPart({
      state,
      listener,
      resolver,
      clock,
      datagrams,
      random,
      gateway,
      kernel,
      log: SILENT_LOG,
    });
    const port = { network: "apollo", device: "veth1", index: 7, mac: "02:42:0a:02:01:05", container: "c" };
    this.state.setPorts("engine", [{ ...port, addresses: [CONTAINER] }]);
    this.#done = part.run(this.#controller.signal);
    await this.clock.tick();
  }

  join(settings = DEFAULT_SETTINGS): void {
    const hosts = [{ name: "h1", address: parseIpv4("192.0.2.9"), up: true }];
    this.state.identity = { hostId: "x" as HostId, hostName: "h1", settings, blocks: [], epoch: "e" };
    this.state.emit("identity");
    this.state.receive({ type: "catalog", reset: true, revision: 3, upsert: [], remove: [], hosts });
  }

  async ask(name: string, server = "127.0.0.1:8600", client: string = CONTAINER): Promise<string> {
    const handler = this.listener.open.get(`udp ${server}`);
    let answer = "silent";
    handler?.(question(name), { address: client, port: 1 }, (bytes) => {
      answer = shown(bytes);
    });
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    return answer;
  }

  /** What the kernel would say to a container; [] when it leaves the question to us. */
  askKernel(name: string): readonly string[] {
    return this.kernel.ask(question(name)).map(shown);
  }

  codes(): readonly string[] {
    return this.state.conditions().map(({ code, severity }) => `${severity} ${code}`);
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    await this.#done;
  }
}

export function question(name: string): Uint8Array {
  return packet.encode({ type: "query", id: 1, questions: [{ name, type: "A" }] });
}

export function shown(answer: Uint8Array): string {
  const decoded = packet.decode(Buffer.from(answer));
  const record = decoded.answers?.[0];
  return record?.type === "A" ? record.data : (decoded as unknown as { rcode: string }).rcode;
}
