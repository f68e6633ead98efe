import { z } from "zod";
import type { Lab } from "../src/lab/lab.ts";
import { startDaemon } from "../src/lab/node-command.ts";
import { waitFor } from "../src/lab/wait-for.ts";

/** A place in the lab that sends or receives: a host itself, or the network of one of its containers. */
export interface Place {
  readonly host: string;
  readonly address: string;
  /** Process whose network namespace it is; null for the host's own. */
  readonly pid: number | null;
}

export interface Load {
  readonly kind: "tcp" | "udp";
  readonly streams: number;
  readonly seconds: number;
}

export interface Throughput {
  readonly gbits: number;
  /** Seconds of processor time of the whole machine for each Gbit that arrived. */
  readonly cpuPerGbit: number;
}

/** Leaves out the start, where windows still grow. */
const OMIT_S = 0.3;
const PORT = 5201;
/** Each takes about 0.1 s when it is refused. */
const ATTEMPTS = 50;
const ECHO_PORT = 5202;
/** Bytes of a request and of its answer. */
const ECHO_BYTES = 64;
const ECHO_SECONDS = 1;
/** As large as fits into a packet of every path: fragments would measure something else. */
const UDP_BYTES = 1372;
const PINGS = 250;

const report = z.object({
  error: z.string().optional(),
  end: z
    .object({
      sum_received: z.object({ bits_per_second: z.number() }).optional(),
      sum: z.object({ bits_per_second: z.number(), lost_percent: z.number() }).partial().optional(),
    })
    .optional(),
});
type Report = z.infer<typeof report>;

/** Ahead of whatever else the machine does: a neighbour that takes a core at the wrong moment would be measured instead. */
const AHEAD = ["nice", "-n", "-20"] as const;

/** The command as it runs in a place. */
export function inPlace({ pid }: Place, argv: readonly string[]): readonly string[] {
  return pid === null ? [...AHEAD, ...argv] : ["nsenter", `--net=/proc/${pid}/ns/net`, ...AHEAD, ...argv];
}

/** The receiving ends; they live as long as their host. */
export async function serveLoad(lab: Lab, place: Place): Promise<void> {
  await serve(lab, place, { port: PORT, argv: ["iperf3", "-s", "-p", String(PORT)] });
  const echo = ["sockperf", "server", "--tcp", "-i", place.address, "-p", String(ECHO_PORT)];
  await serve(lab, place, { port: ECHO_PORT, argv: echo });
}

async function serve(
  lab: Lab,
  place: Place,
  { port, argv }: { readonly port: number; readonly argv: readonly string[] },
): Promise<void> {
  await startDaemon(lab.name, place.host, { log: argv[0] ?? "", argv: inPlace(place, argv) });
  const ask = inPlace(place, ["ss", "-Hltn", `sport = :${port}`]);
  await waitFor(async () => (await lab.mustExec(place.host, ask)).includes(`:${port}`), {
    what: `${argv[0]} on ${place.host}`,
    timeoutMs: 10_000,
    intervalMs: 50,
  });
}

export async function measureThroughput(
  lab: Lab,
  { from, to }: { readonly from: Place; readonly to: Place },
  load: Load,
): Promise<Throughput> {
  const kind = load.kind === "udp" ? ["-u", "-b", "0", "-l", String(UDP_BYTES)] : ["-O", String(OMIT_S)];
  const argv = [
    "iperf3",
    "-J",
    "-c",
    to.address,
    "-p",
    String(PORT),
    "-t",
    String(load.seconds),
    "-P",
    String(load.streams),
  ];
  const run = async (attempt: number): Promise<{ end: NonNullable<Report["end"]>; busy: number }> => {
    const before = await busySeconds();
    const text = await lab.exec(from.host, inPlace(from, [...argv, ...kind]), { timeoutMs: 20_000 });
    const busy = (await busySeconds()) - before;
    const { error, end } = report.parse(JSON.parse(text.stdout));
    // The one before may still be on its way out at the other end.
    if (error?.includes("busy") === true && attempt < ATTEMPTS) return run(attempt + 1);
    if (error !== undefined || end === undefined)
      throw new Error(`iperf3 from ${from.host} to ${to.address}: ${error}`);
    return { end, busy };
  };
  const { end, busy } = await run(1);
  const bits =
    load.kind === "udp"
      ? (end.sum?.bits_per_second ?? Number.NaN) * (1 - (end.sum?.lost_percent ?? 0) / 100)
      : (end.sum_received?.bits_per_second ?? Number.NaN);
  const gbits = bits / 1e9;
  return { gbits, cpuPerGbit: busy / (gbits * (load.seconds + (load.kind === "tcp" ? OMIT_S : 0))) };
}

/** Median time of a request and its answer over one TCP connection, microseconds. */
export async function measureRequests(lab: Lab, from: Place, to: Place): Promise<number> {
  const size = ["-m", String(ECHO_BYTES), "-t", String(ECHO_SECONDS)];
  const argv = ["sockperf", "ping-pong", "--tcp", "-i", to.address, "-p", String(ECHO_PORT), ...size];
  const text = await lab.mustExec(from.host, inPlace(from, argv), { timeoutMs: 20_000 });
  const median = /percentile 50\.000 = +([\d.]+)/.exec(text)?.[1];
  if (median === undefined) throw new Error(`sockperf from ${from.host} to ${to.address} has no figures: ${text}`);
  // It says half of what it measured.
  return Number(median) * 2;
}

/** Mean of a burst of pings, microseconds. */
export async function measurePings(lab: Lab, from: Place, to: Place): Promise<number> {
  const argv = ["ping", "-q", "-n", "-c", String(PINGS), "-i", "0.002", to.address];
  const text = await lab.mustExec(from.host, inPlace(from, argv), { timeoutMs: 20_000 });
  const mean = /= [\d.]+\/([\d.]+)\//.exec(text)?.[1];
  if (mean === undefined) throw new Error(`ping from ${from.host} to ${to.address} has no figures: ${text}`);
  return Number(mean) * 1000;
}

/** Of all processors since the machine started: all but idle and waiting for disks. */
async function busySeconds(): Promise<number> {
  const [line = ""] = (await Bun.file("/proc/stat").text()).split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, soft = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + soft) / 100;
}
