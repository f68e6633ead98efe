/** Servers that run, and one measurement of one of them. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../src/model/error.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import type { Contender, Seat } from "./dns-contenders.ts";
import { type DnsLab, LAB_ADDRESSES } from "./dns-lab.ts";

export interface Running {
  /** Before its figures; "container_apollo", for one, is asked by a container. */
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Before the command of whoever asks it. */
  readonly client: readonly string[];
  /** Of dnsperf: how many ask at once. */
  readonly load: readonly string[];
  readonly process: Bun.Subprocess;
}

/** Time for a server to come up; each is asked until it answers. */
const READY_MS = 20_000;
/** Programs and containers of a host ask side by side; one sender alone would be slower than what it measures. The same for all. */
const LAB_LOAD = ["-c", "8", "-T", "4"];

/** Who is to answer where, and from where it is asked. */
export interface Plan {
  readonly name: string;
  readonly contender: Contender;
  readonly seat: Seat;
  readonly server: readonly string[];
  readonly client: readonly string[];
  readonly load: readonly string[];
}

/** By loopback. Ours is there twice, as below, when there is a lab; otherwise the process alone is all there is. */
export function planLoopback(contenders: readonly Contender[], directory: string, lab: DnsLab | null): readonly Plan[] {
  const common = { address: "127.0.0.1", directory };
  if (lab === null) {
    return contenders.map((contender): Plan => {
      const seat = { ...common, port: freePort(), kernel: null };
      return { name: contender.name, contender, seat, server: [], client: [], load: LAB_LOAD };
    });
  }
  return twice(contenders).map(({ contender, name, isFast }, index): Plan => {
    const prefix = isFast ? lab.loopback.fast : lab.loopback.plain;
    const seat = { ...common, port: 53 + index, kernel: isFast ? ("loopback" as const) : null };
    return { name, contender, seat, server: prefix, client: prefix, load: LAB_LOAD };
  });
}

/** At addresses of the lab's bridge. Ours is there twice: with the kernel's answers, and as a process alone. */
export function planLab(contenders: readonly Contender[], directory: string, lab: DnsLab): readonly Plan[] {
  return twice(contenders).map(({ contender, name, isFast }, index): Plan => {
    const { prefix, port: wire } = isFast ? lab.fast : lab.plain;
    const seat = { address: LAB_ADDRESSES[index] ?? "", port: 53, directory, kernel: isFast ? wire : null };
    return { name: `container_${name}`, contender, seat, server: lab.hostPrefix, client: prefix, load: LAB_LOAD };
  });
}

interface Part {
  readonly contender: Contender;
  readonly name: string;
  /** The kernel answers as well. */
  readonly isFast: boolean;
}

/** All of them, and ours once more as a process alone. */
function twice(contenders: readonly Contender[]): readonly Part[] {
  const all = contenders.map((contender) => ({ contender, name: contender.name, isFast: contender.name === "apollo" }));
  const ours = all.filter(({ isFast }) => isFast);
  return [...all, ...ours.map(({ contender, name }) => ({ contender, name: `${name}_process`, isFast: false }))];
}

/** Resolves when it answers. */
export async function startServer({ name, contender, seat, server, client, load }: Plan): Promise<Running> {
  const path = join(seat.directory, `${name}.conf`);
  await writeFile(path, contender.config(seat));
  if (contender.hosts !== undefined)
    await writeFile(join(seat.directory, `${contender.name}.hosts`), contender.hosts());
  const child = Bun.spawn([...server, ...contender.argv(seat, path)], { stdout: "ignore", stderr: "ignore" });
  const running = { name, address: seat.address, port: seat.port, client, load, process: child };
  try {
    await untilAnswers(running);
    return running;
  } catch (error) {
    child.kill();
    throw error;
  }
}

export interface Measured {
  /** Answers a second. */
  readonly rate: number;
  /** Processor time of the client for each, in microseconds: with what the kernel did for others in its name. */
  readonly clientUs: number;
}

export async function measureRate(
  { name, address, port, client, load }: Running,
  queries: string,
  seconds: number,
): Promise<Measured> {
  const target = ["-s", address, "-p", String(port), "-d", queries];
  const argv = [...client, "dnsperf", ...target, "-l", String(seconds), ...load];
  const child = Bun.spawn(argv, { stdout: "pipe", stderr: "ignore" });
  const [text] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  const read = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  const rate = read(/Queries per second:\s+([0-9.]+)/);
  const codes = /Response codes:(.*)/.exec(text)?.[1] ?? "";
  const good = codes.split(",").every((each) => /NOERROR|NXDOMAIN/.test(each));
  if (Number.isNaN(rate) || !good) {
    throw new AppError("unavailable", `Cannot measure DNS of ${name}: not every answer was good\n${text}`);
  }
  const spent = Number(child.resourceUsage()?.cpuTime.total ?? Number.NaN);
  return { rate, clientUs: spent / read(/Queries completed:\s+(\d+)/) };
}

async function untilAnswers({ name, address, port, client }: Running): Promise<void> {
  const deadline = systemClock.monotonicMs() + READY_MS;
  const to = [`@${address}`, "-p", String(port), "+short", "+time=1", "+tries=1"];
  const argv = [...client, "dig", ...to, "service-7.service.consul"];
  while ((await output(argv)).trim().split("\n").length !== 3) {
    if (systemClock.monotonicMs() > deadline) {
      throw new AppError("unavailable", `Cannot measure DNS: ${name} did not answer within ${READY_MS / 1000} s`);
    }
    await systemClock.sleep(100);
  }
}

async function output(argv: readonly string[]): Promise<string> {
  const child = Bun.spawn([...argv], { stdout: "pipe", stderr: "ignore" });
  const [text] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  return text;
}

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  server.stop(true);
  return server.port;
}
