/** A host with two containers, whose agent's DNS and fast path parts work with the real kernel. */
import { appendFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packet from "dns-packet";
import type { Endpoint } from "../../src/model/endpoint.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { DnsCounts } from "../../src/model/wire.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { BpfKernel } from "../../src/platform/linux/fast-path/bpf-kernel.ts";
import { DNS_SIZES } from "../../src/platform/linux/fast-path/encode-answers.ts";
import { LinuxFastPath } from "../../src/platform/linux/fast-path/linux-fast-path.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { Runner } from "../../src/platform/ports/runner.ts";
import { buildFastPath } from "../../tools/build-fast-path.ts";
import type { AgentCommand, AgentLook, AskerAnswer, AskerCommand } from "./dns-kernel.inside.ts";
import { type Namespace, NetworkLab, waitFor } from "./network-lab.ts";
import { type EndpointChange, endpointOf } from "../../src/model/endpoint.fixture.ts";

export const GATEWAY = "10.2.1.1";
export const CONTAINERS = { one: "10.2.1.5", two: "10.2.1.6" } as const;
export type ContainerName = keyof typeof CONTAINERS;

const INSIDE = join(import.meta.dir, "dns-kernel.inside.ts");
/** An answer is there in well under a millisecond; on a machine that is busy, later. */
const ANSWER_MS = 5000;

/** A process that answers each line with a line. */
class Talker {
  readonly child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncGenerator<string>;

  /** Not by "ip netns exec": that gives a view of mounts of its own, which ends with the process. */
  constructor(at: Namespace, argv: readonly string[]) {
    const inside = ["nsenter", `--net=/run/netns/${at.name}`, process.execPath, INSIDE, ...argv];
    this.child = Bun.spawn(inside, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    this.#lines = linesOf(this.child.stdout);
  }

  async say(command: AgentCommand | AskerCommand): Promise<unknown> {
    void this.child.stdin.write(`${JSON.stringify(command)}\n`);
    await this.child.stdin.flush();
    const next = await this.#lines.next();
    if (next.done === true) throw new Error("The process has ended");
    return JSON.parse(next.value);
  }

  async end(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }
}

export class DnsKernelLab {
  readonly lab: NetworkLab;
  readonly #object: string;
  readonly #directory: string;
  readonly #containers = new Map<ContainerName, { readonly space: Namespace; readonly asker: Talker }>();
  readonly #ports: LocalPort[] = [];
  #host: Namespace | null = null;
  #hostAsker: Talker | null = null;
  #agent: Talker | null = null;

  /** `name` tells the labs of one process apart. */
  constructor(name = "dnsk") {
    this.lab = new NetworkLab(name);
    this.#object = join(tmpdir(), `apollo-${name}-${process.pid}.o`);
    this.#directory = join(tmpdir(), `apollo-bpf-${name}-${process.pid}`);
  }

  async up(): Promise<void> {
    await buildFastPath(this.#object);
    const host = await this.lab.addNamespace("host");
    this.#host = host;
    await host.runner.run(["ip", "-batch", "-"], {
      stdin: [
        "link add apollo0 type bridge forward_delay 0 stp_state 0",
        `address add ${GATEWAY}/16 dev apollo0`,
        "link set apollo0 up",
        "",
      ].join("\n"),
    });
    this.#hostAsker = new Talker(host, ["asker"]);
    for (const [name, address] of Object.entries(CONTAINERS) as [ContainerName, string][]) {
      const space = await this.lab.addContainer(host, name, address);
      const device = `veth-${name}`;
      const index = Number((await host.runner.run(["cat", `/sys/class/net/${device}/ifindex`])).stdout);
      const mac = (await space.runner.run(["cat", "/sys/class/net/eth0/address"])).stdout.trim();
      this.#ports.push({ network: "apollo", device, index, mac, addresses: [parseIpv4(address)], container: name });
      this.#containers.set(name, { space, asker: new Talker(space, ["asker"]) });
    }
  }

  /** Another agent, with what the one before it has left in the kernel; waits until its fast path is on. */
  async startAgent(): Promise<void> {
    if (this.#host === null) throw new Error("The lab is not up");
    this.#agent = new Talker(this.#host, ["agent", this.#directory, this.#object]);
    await this.guard([]);
    await waitFor("the agent's fast path", async () => (await this.look()).on);
    await waitFor(
      "an answer of the agent",
      async () => (await this.ask("one", [question("x.node.consul")], 500))[0] !== null,
    );
  }

  agentPid(): number {
    return this.#talker().child.pid;
  }

  async killAgent(): Promise<void> {
    await this.#talker().end();
    this.#agent = null;
  }

  /** These containers are such that a policy speaks of. */
  async guard(names: readonly ContainerName[]): Promise<void> {
    const guarded = names.map((name) => `${CONTAINERS[name]}/32`);
    await this.#talker().say({ kind: "ports", ports: this.#ports, guarded });
  }

  /** Resolves when the agent has heard of it, and so says that it is in force. */
  async change(upsert: readonly Endpoint[], remove: readonly string[] = []): Promise<void> {
    await this.#talker().say({ kind: "catalog", upsert, remove });
  }

  async look(): Promise<AgentLook> {
    return (await this.#talker().say({ kind: "look" })) as AgentLook;
  }

  async counts(): Promise<DnsCounts> {
    const { counts } = await this.look();
    if (counts === null) throw new Error("The kernel has no programs");
    return counts;
  }

  /** One datagram after the other, each with its answer or, after a while, null. */
  async ask(from: ContainerName, datagrams: readonly Uint8Array[], waitMs = ANSWER_MS): Promise<(Uint8Array | null)[]> {
    return askBy(this.#container(from).asker, datagrams, { to: GATEWAY, port: 53, waitMs });
  }

  /** The same from the host itself. */
  async askFromHost(
    datagrams: readonly Uint8Array[],
    { to = GATEWAY, port = 53, from, waitMs = ANSWER_MS }: Partial<HostQuestion> = {},
  ): Promise<(Uint8Array | null)[]> {
    if (this.#hostAsker === null) throw new Error("The lab is not up");
    return askBy(this.#hostAsker, datagrams, { to, port, waitMs, ...(from === undefined ? {} : { from }) });
  }

  /** The same until the kernel answers it to the host at that place. */
  async teachHost(datagram: Uint8Array, at: Partial<HostQuestion> = {}): Promise<void> {
    await waitFor("the kernel to answer the host", async () => {
      const before = await this.counts();
      await this.askFromHost([datagram], at);
      return (await this.counts()).answered > before.answered;
    });
  }

  host(): Namespace {
    if (this.#host === null) throw new Error("The lab is not up");
    return this.#host;
  }

  /** The same until the kernel answers it: the agent hands over what is asked again and again. */
  async teach(from: ContainerName, datagram: Uint8Array): Promise<void> {
    await waitFor("the kernel to answer", async () => {
      const before = await this.counts();
      await this.ask(from, [datagram]);
      return (await this.counts()).answered > before.answered;
    });
  }

  space(name: ContainerName): Namespace {
    return this.#container(name).space;
  }

  /** As if the agent had been silent for so long that its answers are valid for only this much more. */
  expireIn(ms: number): void {
    const kernel = new BpfKernel();
    const handle = kernel.open(this.#pinned("dns_state"));
    if (handle === null) throw new Error("There is no state of DNS in the kernel");
    const [only] = kernel.entries(handle, DNS_SIZES.dns_state);
    if (only === undefined) throw new Error("The state of DNS is empty");
    const { key, value } = only;
    const validUntilNs = kernel.nowNs() + BigInt(ms) * 1_000_000n;
    new DataView(value.buffer).setBigUint64(0, validUntilNs, true);
    kernel.update(handle, key, value);
    kernel.close(handle);
  }

  /** The same programs with another digest, as those of another release. */
  renewObject(): void {
    appendFileSync(this.#object, "\n");
  }

  /** As a host does that leaves its cluster. */
  async leave(): Promise<AgentLook> {
    return (await this.#talker().say({ kind: "leave" })) as AgentLook;
  }

  async close(): Promise<void> {
    for (const { asker } of this.#containers.values()) await asker.end();
    await this.#hostAsker?.end();
    await this.#agent?.end();
    if (this.#host !== null) await this.#fastPath(this.#host).remove();
    await this.lab.close();
    rmSync(this.#object, { force: true });
  }

  #fastPath({ runner }: Namespace): LinuxFastPath {
    const outside = new ProcessRunner();
    const split: Runner = {
      run: (argv, options) => (argv[0] === "umount" ? outside : runner).run(argv, options),
    };
    return new LinuxFastPath({
      runner: split,
      directory: this.#directory,
      object: () => Bun.file(this.#object).bytes(),
    });
  }

  #pinned(name: string): string {
    const [folder] = [...new Bun.Glob(`*/${name}`).scanSync({ cwd: this.#directory })];
    return join(this.#directory, folder ?? name);
  }

  #container(name: ContainerName): { readonly space: Namespace; readonly asker: Talker } {
    const found = this.#containers.get(name);
    if (found === undefined) throw new Error(`There is no container ${name}`);
    return found;
  }

  #talker(): Talker {
    if (this.#agent === null) throw new Error("There is no agent");
    return this.#agent;
  }
}

export type HostQuestion = Omit<AskerCommand, "datagrams">;

async function askBy(
  asker: Talker,
  datagrams: readonly Uint8Array[],
  how: HostQuestion,
): Promise<(Uint8Array | null)[]> {
  const command = { datagrams: datagrams.map((each) => Buffer.from(each).toString("hex")), ...how };
  const answers = (await asker.say(command)) as AskerAnswer;
  return answers.map((answer) => (answer === null ? null : Buffer.from(answer, "hex")));
}

/** Of a host that is not in the lab. */
export function endpoint({ name, ...change }: EndpointChange & { readonly name: string }): Endpoint {
  return endpointOf({ id: `far:${name}:8080`, host: "far", container: name, ...change });
}

let lastId = 0;

/** Each with an id of its own. */
export function question(name: string, type: "A" | "SRV" | "AAAA" = "A"): Uint8Array {
  lastId = (lastId + 1) & 0xffff;
  const questions = [{ name, type, class: "IN" as const }];
  return packet.encode({ type: "query", id: lastId, flags: packet.RECURSION_DESIRED, questions });
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const whole = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = whole.pop() ?? "";
    yield* whole;
  }
}
