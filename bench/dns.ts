/**
 * DNS answers a second: our server against dnsmasq and a single-threaded unbound, one process each, 1,000 services of
 * three instances, asked by dnsperf on the same machine. A round asks every server every mix, one after the other: on loopback, as
 * a host's own programs ask, and from a container over its wire and the bridge. Ours leaves to the kernel what it can, and is asked a second
 * time as a process alone. Without root there is no kernel's part, and no container.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../src/model/error.ts";
import { type Bench, median } from "./bench.ts";
import { CONTENDERS } from "./dns-contenders.ts";
import { type DnsLab, upDnsLab } from "./dns-lab.ts";
import { measureLarge } from "./dns-large.ts";
import { measureLatency } from "./dns-latency.ts";
import { type Running, measureRate, planLab, planLoopback, startServer } from "./dns-running.ts";
import { BENCH_MIXES, BENCH_SERVICES } from "./dns-services.ts";

const ROUNDS = 4;
const SECONDS = 1;

export const benchDns: Bench = async ({ rounds, quick, progress }) => {
  if (Bun.which("dnsperf") === null) {
    throw new AppError("unavailable", "Cannot measure DNS: dnsperf is not installed", {
      hint: "apt-get install dnsperf",
    });
  }
  const count = rounds ?? (quick ? 1 : ROUNDS);
  const directory = await mkdtemp(join(tmpdir(), "apollo-bench-dns-"));
  const contenders = CONTENDERS.filter(({ program }) => Bun.which(program) !== null);
  const servers: Running[] = [];
  const inLab: Running[] = [];
  let lab: DnsLab | null = null;
  const rates = new Rates();
  const spent = new Rates();
  const latency: Record<string, number> = {};
  try {
    for (const [mix, lines] of Object.entries(BENCH_MIXES)) {
      await writeFile(join(directory, mix), lines.map((line) => `${line}\n`).join(""));
    }
    if (process.getuid?.() === 0) lab = await upDnsLab();
    for (const plan of planLoopback(contenders, directory, lab)) servers.push(await startServer(plan));
    if (lab !== null) {
      const labDirectory = join(directory, "lab");
      await mkdir(labDirectory);
      for (const plan of planLab(contenders, labDirectory, lab)) inLab.push(await startServer(plan));
    }
    for (let round = 1; round <= count; round++) {
      for (const mix of Object.keys(BENCH_MIXES)) {
        for (const server of [...servers, ...inLab]) {
          const { rate, clientUs } = await measureRate(server, join(directory, mix), SECONDS);
          rates.add(`${server.name}_${mix}`, rate);
          spent.add(server.name, clientUs);
          progress(`round ${round}/${count}: ${mix.padEnd(8)} ${server.name.padEnd(24)} ${Math.round(rate)} answers/s`);
        }
      }
    }
    // The same load for all: half of what the slowest of them answers.
    const perSecond = Math.floor(Math.min(...servers.map(({ name }) => rates.median(`${name}_mixed`))) / 2);
    for (const server of servers) {
      const { name } = server;
      const { p50Us, p99Us, lost } = await measureLatency(server, join(directory, "mixed"), { perSecond, seconds: 3 });
      Object.assign(latency, { [`${name}_p50_us`]: p50Us, [`${name}_p99_us`]: p99Us, [`${name}_lost`]: lost });
    }
    latency["half_load_per_s"] = perSecond;
    for (const each of servers) latency[`${each.name}_cpu_us_per_answer`] = cpuPerAnswer(each, rates);
    for (const each of [...servers, ...inLab]) {
      latency[`${each.name}_both_cpu_us_per_answer`] = cpuPerAnswer(each, rates) + spent.median(each.name);
    }
  } finally {
    for (const server of [...servers, ...inLab]) server.process.kill();
    await Promise.all([...servers, ...inLab].map((server) => server.process.exited));
    await lab?.close();
    await rm(directory, { recursive: true, force: true });
  }
  progress("100,000 endpoints");
  return {
    rounds: count,
    figures: { ...rates.medians(), ...latency, ...(await measureLarge()) },
    ratios: {
      ...ratiosOf(rates, servers, { ours: "apollo", key: "vs_", before: "" }),
      ...(inLab.length === 0
        ? {}
        : ratiosOf(rates, servers, { ours: "apollo_process", key: "process_vs_", before: "" })),
      ...ratiosOf(rates, inLab, { ours: "container_apollo", key: "container_vs_", before: "container_" }),
    },
    notes: notesOf(inLab.length > 0),
  };
};

function notesOf(hasLab: boolean): readonly string[] {
  return [
    `${BENCH_SERVICES.length} services with 3 addresses each; dnsperf on the same cores: 8 clients of four threads`,
    "vs_X is the mixed load: A, AAAA without data, SRV and, one in seven, names that nobody has",
    "vs_X is by loopback, as a host asks its own name server, and container_vs_X by a container's wire and the bridge: in both the kernel gives what the process has given it",
    "process_vs_X is by loopback without the kernel's answers: one process against the other",
    "both_cpu is the processor time of client and server together: what the kernel answers, it does in the name of who asks",
    "apollo_process and container_apollo_process are ours without the kernel's answers, asked as the others are",
    ...(hasLab
      ? []
      : [
          "Not measured, since it needs root: the kernel's answers and the way of containers; vs_X is one process against the other",
        ]),
    "p50 and p99 at the same half load for all, with the time of the measuring client in them",
  ];
}

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
function ratiosOf(
  rates: Rates,
  servers: readonly Running[],
  { ours: own, key: prefix, before }: { readonly ours: string; readonly key: string; readonly before: string },
): Readonly<Record<string, number>> {
  // As a process alone it is compared with others; what the kernel adds is told by the first.
  const peers = servers.filter(({ name }) => name !== own && name !== `${before}apollo`);
  const pairs = Object.keys(BENCH_MIXES).flatMap((mix) =>
    peers.map(({ name }) => {
      const ours = rates.of(`${own}_${mix}`);
      const ratio = median(rates.of(`${name}_${mix}`).map((rate, index) => (ours[index] ?? 0) / rate));
      const key = `${prefix}${name.slice(before.length)}`;
      return [mix === "mixed" ? key : `${key}_${mix}`, ratio] as const;
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
