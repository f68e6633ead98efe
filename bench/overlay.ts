import { median } from "./bench.ts";
import type { Bench } from "./bench.ts";
import { OverlayLab } from "./overlay-lab.ts";
import type { Place, Throughput } from "./overlay-load.ts";
import { measureLatency, measureThroughput } from "./overlay-load.ts";

const ROUNDS = 7;
const SECONDS = 1;
const STREAMS = 8;
/** The one that sends, its neighbour on the same wire, and the one behind the router. */
const [FROM, NEAR, FAR] = ["h1", "h2", "h3"] as const;

interface Path {
  readonly name: string;
  readonly from: Place;
  readonly to: Place;
  /** Null where the fast path plays no part. */
  readonly fast: boolean | null;
}

interface Sample {
  readonly one: Throughput;
  readonly eight: Throughput;
  readonly udp: Throughput;
  readonly latencyUs: number;
}

/**
 * Containers on two hosts, over every path that there is: the hosts themselves, ours with and without the fast path, direct
 * and through VXLAN, and Swarm's overlay on the same engines. Every round measures every path, one after the other.
 */
export const benchOverlay: Bench = async ({ rounds: wanted, quick, progress }) => {
  const rounds = wanted ?? (quick ? 1 : ROUNDS);
  const seconds = SECONDS;
  if (Bun.which("iperf3") === null)
    throw new Error("Cannot measure: there is no iperf3\nInstall it: apt-get install iperf3");
  const world = await OverlayLab.up(progress);
  try {
    const paths = pathsOf(world);
    const samples = new Map<string, Sample[]>(paths.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const path of paths) {
        if (path.fast !== null) await world.setFastPath(path.fast);
        samples.get(path.name)?.push(await measure(world, path, seconds));
        if (path.fast === false) await world.setFastPath(true);
      }
      const told = paths.map(({ name }) => `${name} ${samples.get(name)?.at(-1)?.one.gbits.toFixed(1)}`);
      progress(`round ${round + 1}/${rounds}, Gbit/s of one TCP stream: ${told.join(", ")}`);
    }
    return { rounds, ...sumUp(samples), notes: notes(seconds) };
  } finally {
    await world.lab.down();
  }
};

function pathsOf(world: OverlayLab): readonly Path[] {
  const [from, near, far] = [world.at(FROM), world.at(NEAR), world.at(FAR)];
  return [
    { name: "host_near", from: from.host, to: near.host, fast: null },
    { name: "direct", from: from.apollo, to: near.apollo, fast: true },
    { name: "direct_slow", from: from.apollo, to: near.apollo, fast: false },
    { name: "swarm_near", from: from.swarm, to: near.swarm, fast: null },
    { name: "host_far", from: from.host, to: far.host, fast: null },
    { name: "vxlan", from: from.apollo, to: far.apollo, fast: true },
    { name: "vxlan_slow", from: from.apollo, to: far.apollo, fast: false },
    { name: "swarm_far", from: from.swarm, to: far.swarm, fast: null },
  ];
}

async function measure({ lab }: OverlayLab, path: Path, seconds: number): Promise<Sample> {
  return {
    one: await measureThroughput(lab, path, { kind: "tcp", streams: 1, seconds }),
    eight: await measureThroughput(lab, path, { kind: "tcp", streams: STREAMS, seconds }),
    udp: await measureThroughput(lab, path, { kind: "udp", streams: 1, seconds }),
    latencyUs: await measureLatency(lab, path.from, path.to),
  };
}

type Samples = ReadonlyMap<string, readonly Sample[]>;

function sumUp(samples: Samples): { figures: Record<string, number>; ratios: Record<string, number> } {
  const figures: Record<string, number> = {};
  for (const [name, all] of samples) {
    figures[`${name}_tcp1_gbits`] = median(all.map(({ one }) => one.gbits));
    figures[`${name}_tcp8_gbits`] = median(all.map(({ eight }) => eight.gbits));
    figures[`${name}_udp_gbits`] = median(all.map(({ udp }) => udp.gbits));
    figures[`${name}_latency_us`] = median(all.map(({ latencyUs }) => latencyUs));
    figures[`${name}_cpu_s_per_gbit`] = median(all.map(({ one }) => one.cpuPerGbit));
  }
  /** Median of the ratios of each round: the machine's mood is the same within one. */
  const ratio = (a: string, b: string, of: (sample: Sample) => number): number => {
    const peers = samples.get(b) ?? [];
    return median(
      (samples.get(a) ?? []).map((sample, index) => {
        const peer = peers[index];
        return peer === undefined ? Number.NaN : of(sample) / of(peer);
      }),
    );
  };
  const tcp = (sample: Sample): number => sample.one.gbits;
  const tcp8 = (sample: Sample): number => sample.eight.gbits;
  const speed = (sample: Sample): number => 1 / sample.latencyUs;
  return {
    figures,
    ratios: {
      direct_vs_host: ratio("direct", "host_near", tcp),
      direct8_vs_host: ratio("direct", "host_near", tcp8),
      direct_slow_vs_host: ratio("direct_slow", "host_near", tcp),
      direct_vs_swarm: ratio("direct", "swarm_near", tcp),
      vxlan_vs_host: ratio("vxlan", "host_far", tcp),
      vxlan8_vs_host: ratio("vxlan", "host_far", tcp8),
      vxlan_slow_vs_host: ratio("vxlan_slow", "host_far", tcp),
      vxlan_vs_swarm: ratio("vxlan", "swarm_far", tcp),
      latency_direct_vs_host: ratio("direct", "host_near", speed),
      latency_direct_slow_vs_host: ratio("direct_slow", "host_near", speed),
      latency_direct_vs_swarm: ratio("direct", "swarm_near", speed),
      latency_vxlan_vs_host: ratio("vxlan", "host_far", speed),
      latency_vxlan_slow_vs_host: ratio("vxlan_slow", "host_far", speed),
      latency_vxlan_vs_swarm: ratio("vxlan", "swarm_far", speed),
    },
  };
}

function notes(seconds: number): readonly string[] {
  return [
    `iperf3, ${seconds} s each, one and ${STREAMS} TCP streams and UDP; latency is the mean of 250 pings; all hosts are namespaces of this machine`,
    `near: ${FROM} to ${NEAR} on one wire; far: ${FROM} to ${FAR} through a router, where ours is VXLAN; Swarm's overlay is VXLAN on both`,
    "slow: the same path through bridge, netfilter and routing, with the fast path's filters taken off",
    "agents are stopped while it is measured: the kernels go on by themselves",
    "ratios are medians of the ratios of each round; those of latency are peer over ours: higher is better",
    "WireGuard: null, no link of this lab has that mode",
  ];
}
