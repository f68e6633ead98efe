// What the fault tests look at: a probe container on every host, who reaches whom, and what operators are told.
import { z } from "zod";
import { AppError } from "../../src/model/error.ts";
import { addressesOf } from "../../src/lab/dig.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { endDaemonOf } from "../../src/lab/lab-control.ts";
import { labPaths } from "../../src/lab/lab-paths.ts";
import { withLogTail } from "../../src/lab/log-tail.ts";
import { startDaemon } from "../../src/lab/node-command.ts";
import { NETWORK, PROBE } from "../../src/lab/tour-world.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { waitFor } from "../../src/lab/wait-for.ts";

/** Longer than any resync of the agent, on a busy machine. What healing took is printed. */
const HEAL_TIMEOUT_MS = 60_000;
const CONDITIONS = z.array(
  z.object({
    name: z.string(),
    phase: z.string(),
    address: z.string(),
    conditions: z.array(z.object({ code: z.string(), text: z.string(), hint: z.string() })),
  }),
);
const LINKS = z.array(
  z.object({
    host: z.string(),
    peer: z.string(),
    mode: z.string(),
    via: z.string().nullable(),
    up: z.boolean().nullable(),
    mtu: z.number().nullable(),
    encryption: z.string(),
    why: z.string(),
  }),
);
export type SeenLink = z.infer<typeof LINKS>[number];
export interface SeenCondition {
  readonly host: string;
  readonly code: string;
  readonly text: string;
  readonly hint: string;
}

/** The probe containers of a lab. */
export class Probes {
  readonly #world: TourWorld;
  readonly #addresses = new Map<string, string>();

  private constructor(world: TourWorld) {
    this.#world = world;
  }

  /** One on each host of the lab. */
  static async everywhere(world: TourWorld): Promise<Probes> {
    const probes = new Probes(world);
    for (const host of world.lab.hosts) await probes.start(host);
    return probes;
  }

  get hosts(): readonly string[] {
    return [...this.#addresses.keys()];
  }

  address(host: string): string {
    const found = this.#addresses.get(host);
    if (found === undefined) throw new Error(`There is no probe on ${host}`);
    return found;
  }

  async start(host: string): Promise<void> {
    const { lab } = this.#world;
    // A host is up once it has joined; its network is there a moment later.
    const isThere = async (): Promise<boolean> =>
      (await lab.exec(host, ["docker", "network", "inspect", NETWORK])).code === 0;
    const what = `the engine's network on ${host}`;
    await withLogTail(
      lab.name,
      () => [`${host}-apollo`],
      () => waitFor(isThere, { what, timeoutMs: HEAL_TIMEOUT_MS }),
    );
    // Kept by the engine itself, as instances are after their first seconds.
    const argv = ["docker", "run", "--detach", "--restart", "unless-stopped", "--name", PROBE, "--network", NETWORK];
    await lab.mustExec(host, [...argv, "--env", "SERVICE_NAME=probe", WEB_IMAGE], { timeoutMs: 60_000 });
    this.#addresses.set(host, await this.#inspect(host, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"));
  }

  forget(host: string): void {
    this.#addresses.delete(host);
  }

  /** Changes with every start of the container. */
  startedAt(host: string): Promise<string> {
    return this.#inspect(host, "{{.State.StartedAt}}");
  }

  /** The argv that runs `argv` in the network of the host's probe, with the host's own programs. */
  async inside(host: string, argv: readonly string[]): Promise<readonly string[]> {
    return ["nsenter", "--target", await this.#inspect(host, "{{.State.Pid}}"), "--net", "--", ...argv];
  }

  async reaches(from: string, to: string): Promise<boolean> {
    const argv = await this.inside(from, ["curl", "-s", "-m", "5", `http://${this.address(to)}/`]);
    return (await this.#world.lab.exec(from, argv)).stdout === "ok\n";
  }

  /** Pairs of hosts whose probes do not reach each other, as `from>to`. */
  async broken(hosts = this.hosts): Promise<readonly string[]> {
    const pairs = hosts.flatMap((from) => hosts.filter((to) => to !== from).map((to) => [from, to] as const));
    const asked = await Promise.all(
      pairs.map(async ([from, to]) => ((await this.reaches(from, to)) ? [] : [`${from}>${to}`])),
    );
    return asked.flat();
  }

  /** Waits until all probes reach each other, DNS on every host knows them, and no condition is left; prints how long. */
  async healed(what: string): Promise<void> {
    const startMs = performance.now();
    const wanted = [...this.#addresses.values()].toSorted().join(" ");
    await waitFor(
      async () => {
        const broken = await this.broken();
        if (broken.length > 0) throw new AppError("unavailable", `${broken.join(", ")} is broken`);
        for (const host of this.hosts) {
          const found = addressesOf(await this.#world.dig(host, "probe.service.consul", "A"))
            .toSorted()
            .join(" ");
          if (found !== wanted) throw new AppError("unavailable", `DNS on ${host} says [${found}]`);
        }
        const left = await conditions(this.#world);
        if (left.length > 0)
          throw new AppError("unavailable", left.map(({ host, text }) => `${host}: ${text}`).join("; "));
        return true;
      },
      { what: `everything to be whole after ${what}`, timeoutMs: HEAL_TIMEOUT_MS },
    );
    console.log(`whole ${Math.round(performance.now() - startMs)} ms after ${what}`);
  }

  async #inspect(host: string, format: string): Promise<string> {
    return (await this.#world.lab.mustExec(host, ["docker", "inspect", "--format", format, PROBE])).trim();
  }
}

export async function hostsOf(world: TourWorld): Promise<z.infer<typeof CONDITIONS>> {
  return world.client.get(CONDITIONS, "/api/hosts");
}

/** Of all hosts, as an operator sees them. */
export async function conditions(world: TourWorld): Promise<readonly SeenCondition[]> {
  return (await hostsOf(world)).flatMap(({ name: host, conditions: own }) => own.map((each) => ({ host, ...each })));
}

export async function linkOf(world: TourWorld, from: string, to: string): Promise<SeenLink | null> {
  const links = await world.client.get(LINKS, "/api/links");
  return links.find(({ host, peer }) => host === from && peer === to) ?? null;
}

const STREAM_PORT = 7000;
const STREAM_FILE = "/tmp/stream";

/**
 * One TCP connection from a probe to another that carries ever the next number: what arrives is compared to the byte, and a
 * connection that broke brings nothing more. One of them at a time on a host.
 */
export class Stream {
  readonly #world: TourWorld;
  readonly #from: string;

  private constructor(world: TourWorld, from: string) {
    this.#world = world;
    this.#from = from;
  }

  /** Starts it; resolves when bytes arrive at `from`. */
  static async start(world: TourWorld, probes: Probes, from: string, to: string): Promise<Stream> {
    const { name, mustExec } = { name: world.lab.name, mustExec: world.lab.mustExec.bind(world.lab) };
    await mustExec(from, ["rm", "-f", STREAM_FILE]);
    const server = ["socat", `TCP-LISTEN:${STREAM_PORT},reuseaddr,fork`, "EXEC:seq 1 100000000000"];
    await startDaemon(name, to, { log: "stream", argv: await probes.inside(to, server) });
    const listens = await probes.inside(to, ["ss", "-Hltn", `sport = :${STREAM_PORT}`]);
    await waitFor(async () => ((await mustExec(to, listens)).includes(`:${STREAM_PORT}`) ? true : null), {
      what: `the stream's server on ${to}`,
      timeoutMs: HEAL_TIMEOUT_MS,
    });
    const url = `http://${probes.address(to)}:${STREAM_PORT}/`;
    const client = ["curl", "-s", "--http0.9", "--limit-rate", "2M", "-o", STREAM_FILE, url];
    await startDaemon(name, from, { log: "stream-client", argv: await probes.inside(from, client) });
    const stream = new Stream(world, from);
    await stream.goesOn();
    return stream;
  }

  /** Resolves when more bytes have come than there were. */
  async goesOn(): Promise<void> {
    const before = await this.#bytes();
    await waitFor(async () => ((await this.#bytes()) > before + 500_000 ? true : null), {
      what: `the stream to ${this.#from} to go on after ${before} bytes`,
      timeoutMs: HEAL_TIMEOUT_MS,
    });
  }

  /** Ends it. @returns how many bytes came, all in order. @throws Error for a byte that is not as sent. */
  async end(): Promise<number> {
    await endDaemonOf(this.#world.lab.name, this.#from, "curl", "SIGTERM");
    const bytes = await this.#bytes();
    const sum = (await this.#world.lab.mustExec(this.#from, ["sha256sum", STREAM_FILE])).split(" ")[0];
    const wanted = new Bun.CryptoHasher("sha256").update(numbers(bytes)).digest("hex");
    if (sum !== wanted) throw new Error(`The stream's ${bytes} bytes are not what was sent`);
    return bytes;
  }

  async #bytes(): Promise<number> {
    const { stdout } = await this.#world.lab.exec(this.#from, ["stat", "-c", "%s", STREAM_FILE]);
    return Number(stdout.trim() || 0);
  }
}

/** What `seq` prints, so many bytes of it. */
function numbers(bytes: number): string {
  const lines: string[] = [];
  for (let length = 0, number = 1; length < bytes; number += 1) {
    const line = `${number}\n`;
    lines.push(line);
    length += line.length;
  }
  return lines.join("").slice(0, bytes);
}

/** Fifty pings a second from a probe to another, until stopped. */
export class PingStream {
  readonly #lab: string;
  readonly #from: string;
  readonly #log: string;

  private constructor(lab: string, from: string, log: string) {
    this.#lab = lab;
    this.#from = from;
    this.#log = log;
  }

  static async start(world: TourWorld, probes: Probes, from: string, to: string): Promise<PingStream> {
    const log = `ping-${crypto.randomUUID().slice(0, 8)}`;
    const argv = await probes.inside(from, ["ping", "-n", "-q", "-i", "0.02", probes.address(to)]);
    await startDaemon(world.lab.name, from, { log, argv });
    return new PingStream(world.lab.name, from, log);
  }

  async stop(): Promise<{ readonly sent: number; readonly received: number }> {
    await endDaemonOf(this.#lab, this.#from, "ping", "SIGINT");
    const text = await Bun.file(`${labPaths(this.#lab).logs}/${this.#from}-${this.#log}.log`).text();
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
    if (sent === undefined || received === undefined) throw new Error(`ping said: ${text}`);
    return { sent: Number(sent), received: Number(received) };
  }
}
