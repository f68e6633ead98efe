/** Hosts and containers as network namespaces: what the network tests need of a machine park, and nothing of ours. */
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { RunResult } from "../../src/platform/ports/runner.ts";

const WAIT_MS = 30_000;
/** What is to come is waited for so long: only what is broken takes it. */
const PATIENCE_SEC = 10;
/** What is not to come is waited for so long: it would be there within milliseconds, and on no machine would all of it be late. */
const SILENCE_SEC = 0.7;

export interface Namespace {
  readonly name: string;
  readonly runner: ProcessRunner;
}

export class NetworkLab {
  readonly #root = new ProcessRunner();
  readonly #stop = new AbortController();
  readonly #background: Promise<unknown>[] = [];
  readonly #namespaces = new Map<string, Namespace>();
  /** Unique on the machine: runs side by side share nothing. */
  readonly #tag: string;
  #nextLink = 0;

  constructor(name: string) {
    this.#tag = `apn-${name}-${process.pid}`;
  }

  async addNamespace(name: string): Promise<Namespace> {
    const full = `${this.#tag}-${name}`;
    await this.#root.run(["ip", "netns", "add", full]);
    const runner = new ProcessRunner({ prefix: ["ip", "netns", "exec", full] });
    const made = { name: full, runner };
    this.#namespaces.set(name, made);
    await runner.run(["ip", "link", "set", "lo", "up"]);
    return made;
  }

  /** The namespace that was added under this name. */
  space(name: string): Namespace {
    return found(this.#namespaces.get(name), `namespace ${name}`);
  }

  /** A wire between two namespaces; both ends are up. Made inside `a`, so the machine's own namespace sees nothing of it. */
  async wire(
    a: { readonly at: Namespace; readonly device: string; readonly address?: string },
    b: { readonly at: Namespace; readonly device: string; readonly address?: string },
  ): Promise<void> {
    const ends = [a.device, b.device];
    const far = `w${this.#nextLink++}`;
    await a.at.runner.run(["ip", "link", "add", a.device, "type", "veth", "peer", "name", far]);
    await a.at.runner.run(["ip", "link", "set", far, "name", b.device, "netns", b.at.name]);
    for (const [index, { at, address }] of [a, b].entries()) {
      const device = ends[index] ?? "";
      if (address !== undefined) await at.runner.run(["ip", "address", "add", address, "dev", device]);
      await at.runner.run(["ip", "link", "set", device, "up"]);
    }
  }

  /** A container as Docker makes it: its own namespace on the host's bridge, the whole range on its wire. */
  async addContainer(host: Namespace, name: string, address: string): Promise<Namespace> {
    const container = await this.addNamespace(name);
    const gateway = address.replace(/\.\d+$/, ".1");
    await this.wire({ at: container, device: "eth0", address: `${address}/16` }, { at: host, device: `veth-${name}` });
    await host.runner.run(["ip", "link", "set", `veth-${name}`, "master", "apollo0"]);
    await container.runner.run(["ip", "route", "add", "default", "via", gateway]);
    return container;
  }

  /** Runs until the lab ends. */
  start(at: Namespace, argv: readonly string[]): void {
    this.#background.push(at.runner.follow(argv, () => {}, this.#stop.signal));
  }

  /** A TCP server whose answer is what `argv` prints; resolves when it listens. */
  async serve(at: Namespace, port: number, argv: string): Promise<void> {
    this.start(at, ["socat", `TCP-LISTEN:${port},reuseaddr,fork`, `EXEC:${argv}`]);
    await this.listens(at, "-Hltn", port);
  }

  /** The same on both families. */
  async serveBoth(at: Namespace, port: number, argv: string): Promise<void> {
    this.start(at, ["socat", `TCP6-LISTEN:${port},reuseaddr,fork,ipv6only=0`, `EXEC:${argv}`]);
    await this.listens(at, "-Hltn", port);
  }

  /** Resolves when somebody listens on the port; `flags` are those of ss. */
  async listens(at: Namespace, flags: "-Hltn" | "-Hlun", port: number): Promise<void> {
    await waitFor(`port ${port} in ${at.name}`, async () => {
      const { stdout } = await at.runner.run(["ss", flags, `sport = :${port}`]);
      return stdout.includes(`:${port}`);
    });
  }

  /** Removes all that it made, whatever state that is in. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#background);
    for (const { name } of this.#namespaces.values()) {
      await this.#root.run(["ip", "netns", "delete", name], { okCodes: [0, 1] });
    }
  }

  async leftovers(): Promise<readonly string[]> {
    const { stdout } = await this.#root.run(["ip", "netns", "list"]);
    return stdout.split("\n").filter((line) => line.startsWith(this.#tag));
  }
}

/** What is there once the set-up has run. */
export function found<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`There is no ${what}`);
  return value;
}

/** What a server at `address` sees as the client's address; null when it cannot be reached. */
export async function clientSeenBy(from: Namespace, address: string, port: number): Promise<string | null> {
  const { code, stdout } = await readFrom(from, `TCP:${address}:${port},connect-timeout=${PATIENCE_SEC}`);
  return code === 0 ? stdout.trim() : null;
}

/** Whether no connection comes about: refused, or nothing said to it in the time in which an answer would have come long ago. */
export async function takesNoConnection(from: Namespace, address: string, port: number): Promise<boolean> {
  return (await readFrom(from, `TCP:${address}:${port},connect-timeout=${SILENCE_SEC}`)).code !== 0;
}

export async function bytesFrom(from: Namespace, address: string, port: number): Promise<number> {
  const { stdout } = await readFrom(from, `TCP:${address}:${port},connect-timeout=${PATIENCE_SEC}`, [0]);
  return stdout.length;
}

/**
 * All that a server says before it closes. One way only: with standard input, which is at its end, socat would wait half a
 * second for the answer and no longer.
 */
function readFrom(from: Namespace, target: string, okCodes: readonly number[] = [0, 1]): Promise<RunResult> {
  const argv = ["socat", "-u", "-T", String(PATIENCE_SEC), target, "STDOUT"];
  return from.runner.run(argv, { okCodes, timeoutMs: 3 * PATIENCE_SEC * 1000 });
}

function pingArgv(address: string, size: number | undefined, waits: readonly string[]): readonly string[] {
  const extra = size === undefined ? [] : ["-M", "do", "-s", String(size - 28)];
  return ["ping", "-n", "-c", "2", "-i", "0.2", ...waits, ...extra, address];
}

/** Packets of a ping that came back: 2, waited for with patience, though more are sent meanwhile. `size` bytes each with "do not fragment" when given. */
export async function pings(from: Namespace, address: string, size?: number): Promise<number> {
  const argv = pingArgv(address, size, ["-w", String(PATIENCE_SEC)]);
  const { stdout } = await from.runner.run(argv, { okCodes: [0, 1], timeoutMs: 3 * PATIENCE_SEC * 1000 });
  return Math.min(2, received(stdout));
}

/** Whether no packet of a ping comes back, in the time in which an answer would have come long ago. */
export async function answersNoPing(from: Namespace, address: string, size?: number): Promise<boolean> {
  const argv = pingArgv(address, size, ["-W", String(SILENCE_SEC)]);
  return received((await from.runner.run(argv, { okCodes: [0, 1] })).stdout) === 0;
}

function received(stdout: string): number {
  return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
}

/**
 * Sends pings until `count` came back, and gives the numbers of those that did not though later ones did. Without a deadline
 * ping waits for the last of them no longer than between two, which a busy machine may take.
 */
export async function lostPings(
  from: Namespace,
  address: string,
  { count, gapSec }: { readonly count: number; readonly gapSec: number },
): Promise<readonly number[]> {
  const argv = ["ping", "-n", "-c", String(count), "-i", String(gapSec), "-w", "50", address];
  const { stdout } = await from.runner.run(argv, { okCodes: [0, 1], timeoutMs: 60_000 });
  const seen = new Set([...stdout.matchAll(/bytes from .*icmp_seq=(\d+)/g)].map(([, number]) => Number(number)));
  if (seen.size < count)
    throw new Error(`${count - seen.size} of ${count} pings did not come back:\n${stdout.slice(-500)}`);
  return Array.from({ length: Math.max(...seen) }, (_, index) => index + 1).filter((number) => !seen.has(number));
}

export async function waitFor(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${WAIT_MS} ms`);
    await Bun.sleep(20);
  }
}

/** Who answers a broadcast or multicast ping from there. */
export async function answers(from: Namespace, address: string): Promise<readonly string[]> {
  const argv = ["ping", "-n", "-b", "-c", "3", "-i", "0.3", "-W", "10", "-I", "eth0", address];
  const { stdout } = await from.runner.run(argv, { okCodes: [0, 1] });
  return [...new Set([...stdout.matchAll(/from ([0-9.]+)/g)].map(([, found = ""]) => found))].toSorted();
}
