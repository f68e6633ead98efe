/**
 * DNS answers a second: our server against dnsmasq and a single-threaded unbound, the same 200 names with three addresses
 * each, asked by dnsperf from the same machine, one server after the other in every round.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../src/model/error.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { type Bench, median } from "./bench.ts";
import { BENCH_SERVICES } from "./dns-services.ts";

interface Contender {
  readonly name: string;
  readonly program: string;
  readonly argv: (port: number, directory: string) => readonly string[];
}

const ROUNDS = 5;
const SECONDS = 3;
/** Time for a server to come up; each is asked until it answers. */
const READY_MS = 20_000;

const CONTENDERS: readonly Contender[] = [
  {
    name: "apollo",
    program: process.execPath,
    argv: (port) => [process.execPath, join(import.meta.dir, "dns-server.ts"), String(port)],
  },
  { name: "dnsmasq", program: "dnsmasq", argv: dnsmasqArgv },
  {
    name: "unbound",
    program: "unbound",
    argv: (_, directory) => ["unbound", "-d", "-c", join(directory, "unbound.conf")],
  },
];

export const benchDns: Bench = async ({ rounds, quick, progress }) => {
  if (Bun.which("dnsperf") === null) {
    throw new AppError("unavailable", "Cannot measure DNS: dnsperf is not installed", {
      hint: "apt-get install dnsperf",
    });
  }
  const contenders = CONTENDERS.filter(({ program }) => Bun.which(program) !== null);
  const count = rounds ?? (quick ? 1 : ROUNDS);
  const directory = await mkdtemp(join(tmpdir(), "apollo-bench-dns-"));
  const servers: { readonly name: string; readonly port: number; readonly process: Bun.Subprocess }[] = [];
  const rates = new Map<string, number[]>();
  try {
    await writeFile(
      join(directory, "queries"),
      BENCH_SERVICES.map(({ service }) => `${service}.service.consul A\n`).join(""),
    );
    for (const { name, argv } of contenders) {
      const port = freePort();
      await writeFile(join(directory, "unbound.conf"), unboundConfig(port, directory));
      const child = Bun.spawn([...argv(port, directory)], { stdout: "ignore", stderr: "ignore" });
      servers.push({ name, port, process: child });
      await untilAnswers(name, port);
    }
    for (let round = 1; round <= count; round++) {
      for (const { name, port } of servers) {
        const rate = await measure(port, join(directory, "queries"));
        rates.set(name, [...(rates.get(name) ?? []), rate]);
        progress(`round ${round}/${count}: ${name} ${Math.round(rate)} answers/s`);
      }
    }
  } finally {
    for (const server of servers) server.process.kill();
    await Promise.all(servers.map((server) => server.process.exited));
    await rm(directory, { recursive: true, force: true });
  }
  const figures = Object.fromEntries([
    ...[...rates].map(([name, values]) => [`${name}_answers_per_s`, median(values)] as const),
    ...servers.map(
      ({ name, process }) => [`${name}_cpu_us_per_answer`, cpuPerAnswer(process, rates.get(name) ?? [])] as const,
    ),
  ]);
  // The ratio of each round, so that a slow moment of the machine weighs on both.
  const ours = rates.get("apollo") ?? [];
  const ratios = [...rates].filter(([name]) => name !== "apollo");
  return {
    rounds: count,
    figures,
    ratios: Object.fromEntries(
      ratios.map(([name, values]) => [`vs_${name}`, median(values.map((rate, index) => (ours[index] ?? 0) / rate))]),
    ),
    notes: [
      `A records of ${BENCH_SERVICES.length} names, 3 addresses each; dnsperf with 4 clients on the same machine`,
    ],
  };
};

/** Server time alone: unlike the rate it does not depend on what the client and others take of the cores. */
function cpuPerAnswer(process: Bun.Subprocess, rates: readonly number[]): number {
  const answers = rates.reduce((sum, rate) => sum + rate * SECONDS, 0);
  return Number(process.resourceUsage()?.cpuTime.total ?? 0) / answers;
}

function dnsmasqArgv(port: number, directory: string): readonly string[] {
  const records = BENCH_SERVICES.flatMap(({ service, addresses }) =>
    addresses.map((address) => `--host-record=${service}.service.consul,${address}`),
  );
  const fixed = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"];
  const own = [
    "--listen-address=127.0.0.1",
    `--port=${port}`,
    `--pid-file=${join(directory, "dnsmasq.pid")}`,
    "--user=",
  ];
  return ["dnsmasq", ...fixed, ...own, "--local=/consul/", ...records];
}

function unboundConfig(port: number, directory: string): string {
  const records = BENCH_SERVICES.flatMap(({ service, addresses }) =>
    addresses.map((address) => `  local-data: "${service}.service.consul. 0 A ${address}"`),
  );
  return [
    "server:",
    "  interface: 127.0.0.1",
    `  port: ${port}`,
    "  num-threads: 1",
    '  username: ""',
    '  chroot: ""',
    `  directory: "${directory}"`,
    `  pidfile: "${join(directory, "unbound.pid")}"`,
    "  do-daemonize: no",
    "  use-syslog: no",
    "  rrset-roundrobin: yes",
    '  local-zone: "consul." static',
    ...records,
    "",
  ].join("\n");
}

async function measure(port: number, queries: string): Promise<number> {
  const text = await output([
    "dnsperf",
    "-s",
    "127.0.0.1",
    "-p",
    String(port),
    "-d",
    queries,
    "-l",
    String(SECONDS),
    "-c",
    "4",
  ]);
  const rate = /Queries per second:\s+([0-9.]+)/.exec(text)?.[1];
  const lost = /Queries lost:\s+([0-9]+)/.exec(text)?.[1];
  const good = /Response codes:\s+NOERROR [0-9]+ \(100\.00%\)/.test(text);
  if (rate === undefined || lost === undefined || !good) {
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
