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
  readonly process: Bun.Subprocess;
}

/** Time for a server to come up; each is asked until it answers. */
const READY_MS = 20_000;

/** By loopback. */
export function startOnLoopback(contender: Contender, directory: string): Promise<Running> {
  const seat = { address: "127.0.0.1", port: freePort(), directory, wire: null };
  return start(contender, contender.name, { seat, server: [], client: [] });
}

/** At an address of the lab's bridge. Ours is there twice: with the kernel's answers, and as a process alone. */
export async function startInLab(
  contenders: readonly Contender[],
  directory: string,
  { hostPrefix, fast, plain }: DnsLab,
): Promise<readonly Running[]> {
  const seats = [
    ...contenders.map((contender) => ({ contender, suffix: "", isFast: contender.name === "apollo" })),
    ...contenders.flatMap((contender) =>
      contender.name === "apollo" ? [{ contender, suffix: "_process", isFast: false }] : [],
    ),
  ];
  const running: Running[] = [];
  for (const [index, { contender, suffix, isFast }] of seats.entries()) {
    const seat = { address: LAB_ADDRESSES[index] ?? "", port: 53, directory, wire: isFast ? fast.port : null };
    const client = isFast ? fast.prefix : plain.prefix;
    running.push(await start(contender, `container_${contender.name}${suffix}`, { seat, server: hostPrefix, client }));
  }
  return running;
}

interface Place {
  readonly seat: Seat;
  readonly server: readonly string[];
  readonly client: readonly string[];
}

async function start(contender: Contender, name: string, { seat, server, client }: Place): Promise<Running> {
  const path = join(seat.directory, `${name}.conf`);
  await writeFile(path, contender.config(seat));
  if (contender.hosts !== undefined)
    await writeFile(join(seat.directory, `${contender.name}.hosts`), contender.hosts());
  const child = Bun.spawn([...server, ...contender.argv(seat, path)], { stdout: "ignore", stderr: "ignore" });
  const running = { name, address: seat.address, port: seat.port, client, process: child };
  try {
    await untilAnswers(running);
  } catch (error) {
    child.kill();
    throw error;
  }
  return running;
}

/** Answers a second. */
export async function measureRate(
  { name, address, port, client }: Running,
  queries: string,
  seconds: number,
): Promise<number> {
  const target = ["-s", address, "-p", String(port), "-d", queries];
  const text = await output([...client, "dnsperf", ...target, "-l", String(seconds), "-c", "4"]);
  const rate = /Queries per second:\s+([0-9.]+)/.exec(text)?.[1];
  const codes = /Response codes:(.*)/.exec(text)?.[1] ?? "";
  const good = codes.split(",").every((each) => /NOERROR|NXDOMAIN/.test(each));
  if (rate === undefined || !good) {
    throw new AppError("unavailable", `Cannot measure DNS of ${name}: not every answer was good\n${text}`);
  }
  return Number(rate);
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
