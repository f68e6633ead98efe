/**
 * DNS answers a second: our server against dnsmasq and a single-threaded unbound, one process each, 1,000 services of
 * three instances, asked by dnsperf on the same machine. A round asks every server every mix, one after the other.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../src/model/error.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { type Bench, median } from "./bench.ts";
import { CONTENDERS } from "./dns-contenders.ts";
import { measureLarge } from "./dns-large.ts";
import { measureLatency } from "./dns-latency.ts";
import { BENCH_MIXES, BENCH_SERVICES } from "./dns-services.ts";

interface Running {
  readonly name: string;
  readonly port: number;
  readonly process: Bun.Subprocess;
}

const ROUNDS = 5;
const SECONDS = 2;
/** Time for a server to come up; each is asked until it answers. */
const READY_MS = 20_000;

export const benchDns: Bench = async ({ rounds, quick, progress }) => {
  if (Bun.which("dnsperf") === null) {
    throw new AppError("unavailable", "Cannot measure DNS: dnsperf is not installed", {
      hint: "apt-get install dnsperf",
    });
  }
  const count = rounds ?? (quick ? 1 : ROUNDS);
  const directory = await mkdtemp(join(tmpdir(), "apollo-bench-dns-"));
  const servers: Running[] = [];
  const rates = new Rates();
  const latency: Record<string, number> = {};
  try {
    for (const [mix, lines] of Object.entries(BENCH_MIXES)) {
      await writeFile(join(directory, mix), lines.map((line) => `${line}\n`).join(""));
    }
    for (const contender of CONTENDERS) {
      if (Bun.which(contender.program) !== null) servers.push(await start(contender, directory));
    }
    for (let round = 1; round <= count; round++) {
      for (const mix of Object.keys(BENCH_MIXES)) {
        for (const { name, port } of servers) {
          const rate = await measure(port, join(directory, mix));
          rates.add(`${name}_${mix}`, rate);
          progress(`round ${round}/${count}: ${mix.padEnd(8)} ${name.padEnd(8)} ${Math.round(rate)} answers/s`);
        }
      }
    }
    // The same load for all: half of what the slowest of them answers.
    const perSecond = Math.floor(Math.min(...servers.map(({ name }) => rates.median(`${name}_mixed`))) / 2);
    for (const { name, port } of servers) {
      const { p50Us, p99Us, lost } = await measureLatency(port, BENCH_MIXES["mixed"] ?? [], { perSecond, seconds: 3 });
      Object.assign(latency, { [`${name}_p50_us`]: p50Us, [`${name}_p99_us`]: p99Us, [`${name}_lost`]: lost });
    }
    latency["half_load_per_s"] = perSecond;
    for (const each of servers) latency[`${each.name}_cpu_us_per_answer`] = cpuPerAnswer(each, rates);
  } finally {
    for (const server of servers) server.process.kill();
    await Promise.all(servers.map((server) => server.process.exited));
    await rm(directory, { recursive: true, force: true });
  }
  progress("100,000 endpoints");
  return {
    rounds: count,
    figures: { ...rates.medians(), ...latency, ...(await measureLarge()) },
    ratios: ratiosOf(rates, servers),
    notes: [
      `${BENCH_SERVICES.length} services with 3 addresses each; dnsperf with 4 clients on the same cores`,
      "vs_X is the mixed load: A, AAAA without data, SRV and, one in seven, names that nobody has",
      "p50 and p99 at the same half load for all, with the time of the measuring client in them",
    ],
  };
};

class Rates {
  readonly #values = new Map<string, number[]>();

  add(key: string, rate: number): void {
    this.#values.set(key, [...this.of(key), rate]);
  }

  of(key: string): readonly number[] {
    return this.#values.get(key) ?? [];
  }

  median(key: string): number {
    return median(this.of(key));
  }

  medians(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#values.keys()].map((key) => [`${key}_per_s`, this.median(key)]));
  }
}

/** The ratio of each round, so that a slow moment of the machine weighs on both. */
function ratiosOf(rates: Rates, servers: readonly Running[]): Readonly<Record<string, number>> {
  const peers = servers.filter(({ name }) => name !== "apollo");
  const pairs = Object.keys(BENCH_MIXES).flatMap((mix) =>
    peers.map(({ name }) => {
      const ours = rates.of(`apollo_${mix}`);
      const ratio = median(rates.of(`${name}_${mix}`).map((rate, index) => (ours[index] ?? 0) / rate));
      return [mix === "mixed" ? `vs_${name}` : `vs_${name}_${mix}`, ratio] as const;
    }),
  );
  return Object.fromEntries(pairs);
}

/** Server time alone: unlike the rate it does not depend on what the client and others take of the cores. */
function cpuPerAnswer({ name, process }: Running, rates: Rates): number {
  const stat = Bun.spawnSync(["cat", `/proc/${process.pid}/stat`]).stdout.toString();
  const [user = 0, system = 0] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13).map(Number); // prettier-ignore
  const answers = Object.keys(BENCH_MIXES).flatMap((mix) => rates.of(`${name}_${mix}`));
  // Linux counts in hundredths of a second.
  return ((user + system) * 10_000) / answers.reduce((sum, rate) => sum + rate * SECONDS, 0);
}

async function start(contender: (typeof CONTENDERS)[number], directory: string): Promise<Running> {
  const { name, config, hosts, argv } = contender;
  const port = freePort();
  const path = join(directory, `${name}.conf`);
  await writeFile(path, config(port, directory));
  if (hosts !== undefined) await writeFile(join(directory, `${name}.hosts`), hosts());
  const child = Bun.spawn([...argv(port, path)], { stdout: "ignore", stderr: "ignore" });
  await untilAnswers(name, port);
  return { name, port, process: child };
}

async function measure(port: number, queries: string): Promise<number> {
  const target = ["-s", "127.0.0.1", "-p", String(port), "-d", queries];
  const text = await output(["dnsperf", ...target, "-l", String(SECONDS), "-c", "4"]);
  const rate = /Queries per second:\s+([0-9.]+)/.exec(text)?.[1];
  const codes = /Response codes:(.*)/.exec(text)?.[1] ?? "";
  const good = codes.split(",").every((each) => /NOERROR|NXDOMAIN/.test(each));
  if (rate === undefined || !good) {
    throw new AppError("unavailable", `Cannot measure DNS on port ${port}: not every answer was good\n${text}`);
  }
  return Number(rate);
}

async function untilAnswers(name: string, port: number): Promise<void> {
  const deadline = systemClock.monotonicMs() + READY_MS;
  const argv = ["dig", "@127.0.0.1", "-p", String(port), "+short", "+time=1", "+tries=1", "service-7.service.consul"];
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
