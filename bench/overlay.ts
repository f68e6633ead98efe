import { median } from "./bench.ts";
import type { Bench } from "./bench.ts";
import { OverlayLab } from "./overlay-lab.ts";
import type { Place, Throughput } from "./overlay-load.ts";
import { measurePings, measureRequests, measureThroughput } from "./overlay-load.ts";

const ROUNDS = 5;
/** Every so many rounds all is measured, in the others only one stream and requests on the paths that budgets name. */
const WIDE_EVERY = 4;
const SECONDS = 1;
const STREAMS = 8;
/** The one that sends, its neighbour on the same wire, the one behind the router, and a neighbour that is not trusted. */
const [FROM, NEAR, FAR, UNTRUSTED] = ["h1", "h2", "h3", "h4"] as const;
const TOOLS = ["iperf3", "sockperf"] as const;

interface Path {
  readonly name: string;
  readonly from: Place;
  readonly to: Place;
  /** Null where the fast path plays no part. */
  readonly fast: boolean | null;
}

interface Sample {
  readonly one: Throughput;
  readonly requestUs: number;
  /** Null in most rounds, which would take too long. */
  readonly wide: { readonly eight: Throughput; readonly udp: Throughput; readonly pingUs: number } | null;
}

type Of = (sample: Sample) => number | undefined;

/**
 * Containers on two hosts, over every path that there is: the hosts themselves, ours with and without the fast path, direct,
 * through VXLAN and through WireGuard, and Swarm's overlay on the same engines. A round measures one path after the other.
 */
export const benchOverlay: Bench = async ({ rounds: wanted, quick, progress }) => {
  const rounds = wanted ?? (quick ? 1 : ROUNDS);
  const missing = TOOLS.filter((tool) => Bun.which(tool) === null).join(" ");
  if (missing !== "")
    throw new Error(`Cannot measure: there is no ${missing}\nInstall it: apt-get install ${TOOLS.join(" ")}`);
  const world = await OverlayLab.up(progress);
  try {
    const paths = pathsOf(world);
    const samples: Samples = new Map(paths.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      const wide = round % WIDE_EVERY === 0;
      for (const path of paths) samples.get(path.name)?.push(await measure(world, path, wide));
      const told = paths.map(({ name }) => `${name} ${samples.get(name)?.at(-1)?.one.gbits.toFixed(1) ?? "-"}`);
      progress(`round ${round + 1}/${rounds}, Gbit/s of one TCP stream: ${told.join(", ")}`);
    }
    return { rounds, ...sumUp(samples), notes: notes() };
  } finally {
    await world.lab.down();
  }
};

function pathsOf(world: OverlayLab): readonly Path[] {
  const [from, near, far, untrusted] = [world.at(FROM), world.at(NEAR), world.at(FAR), world.at(UNTRUSTED)];
  return [
    { name: "host_near", from: from.host, to: near.host, fast: null },
    { name: "direct", from: from.apollo, to: near.apollo, fast: true },
    { name: "direct_slow", from: from.apollo, to: near.apollo, fast: false },
    { name: "swarm_near", from: from.swarm, to: near.swarm, fast: null },
    { name: "host_far", from: from.host, to: far.host, fast: null },
    { name: "vxlan", from: from.apollo, to: far.apollo, fast: true },
    { name: "vxlan_slow", from: from.apollo, to: far.apollo, fast: false },
    { name: "swarm_far", from: from.swarm, to: far.swarm, fast: null },
    { name: "wireguard", from: from.apollo, to: untrusted.apollo, fast: null },
  ];
}

/** Undefined: left out of this round, as the slow ways are of narrow ones. */
async function measure(world: OverlayLab, path: Path, wide: boolean): Promise<Sample | undefined> {
  if (path.fast !== false) return sample(world, path, wide);
  if (!wide) return undefined;
  await world.setFastPath(false);
  try {
    return await sample(world, path, wide);
  } finally {
    await world.setFastPath(true);
  }
}

async function sample({ lab }: OverlayLab, path: Path, wide: boolean): Promise<Sample> {
  const load = (kind: "tcp" | "udp", streams: number): Promise<Throughput> =>
    measureThroughput(lab, path, { kind, streams, seconds: SECONDS });
  const one = await load("tcp", 1);
  const requestUs = await measureRequests(lab, path.from, path.to);
  if (!wide) return { one, requestUs, wide: null };
  const [eight, udp] = [await load("tcp", STREAMS), await load("udp", 1)];
  return { one, requestUs, wide: { eight, udp, pingUs: await measurePings(lab, path.from, path.to) } };
}

/** By path, a place for each round. */
type Samples = ReadonlyMap<string, (Sample | undefined)[]>;

const ONE: Of = ({ one }) => one.gbits;
const EIGHT: Of = ({ wide }) => wide?.eight.gbits;
const UDP: Of = ({ wide }) => wide?.udp.gbits;
/** Of latency and cost the inverse: more is better everywhere. */
const REQUESTS: Of = ({ requestUs }) => 1 / requestUs;
const COST: Of = ({ one }) => 1 / one.cpuPerGbit;

/** What is compared with what, by key. Keys are read by others: none is ever renamed. */
const RATIOS: Readonly<Record<string, readonly [path: string, peer: string, of: Of]>> = {
  direct_vs_host: ["direct", "host_near", ONE],
  vxlan_vs_host: ["vxlan", "host_far", ONE],
  vxlan_vs_swarm: ["vxlan", "swarm_far", ONE],
  direct_vs_swarm: ["direct", "swarm_near", ONE],
  latency_direct_vs_host: ["direct", "host_near", REQUESTS],
  latency_direct_vs_swarm: ["direct", "swarm_near", REQUESTS],
  latency_vxlan_vs_host: ["vxlan", "host_far", REQUESTS],
  latency_vxlan_vs_swarm: ["vxlan", "swarm_far", REQUESTS],
  cpu_direct_vs_host: ["direct", "host_near", COST],
  cpu_vxlan_vs_swarm: ["vxlan", "swarm_far", COST],
  direct8_vs_host: ["direct", "host_near", EIGHT],
  vxlan8_vs_host: ["vxlan", "host_far", EIGHT],
  udp_direct_vs_host: ["direct", "host_near", UDP],
  udp_vxlan_vs_host: ["vxlan", "host_far", UDP],
  direct_vs_slow: ["direct", "direct_slow", ONE],
  vxlan_vs_slow: ["vxlan", "vxlan_slow", ONE],
  latency_direct_vs_slow: ["direct", "direct_slow", REQUESTS],
  latency_vxlan_vs_slow: ["vxlan", "vxlan_slow", REQUESTS],
  wireguard_vs_host: ["wireguard", "host_near", ONE],
};

function sumUp(samples: Samples): { figures: Record<string, number>; ratios: Record<string, number> } {
  const figures: Record<string, number> = {};
  const all = (path: string, of: Of): readonly number[] =>
    (samples.get(path) ?? []).flatMap((each) => (each === undefined ? [] : (of(each) ?? [])));
  for (const path of samples.keys()) {
    figures[`${path}_tcp1_gbits`] = median(all(path, ONE));
    figures[`${path}_tcp8_gbits`] = median(all(path, EIGHT));
    figures[`${path}_udp_gbits`] = median(all(path, UDP));
    figures[`${path}_request_us`] = median(all(path, ({ requestUs }) => requestUs));
    figures[`${path}_ping_us`] = median(all(path, ({ wide }) => wide?.pingUs));
    figures[`${path}_cpu_s_per_gbit`] = median(all(path, ({ one }) => one.cpuPerGbit));
  }
  // Median of the ratios of each round: the machine's mood is the same within one.
  const ratios = Object.entries(RATIOS).map(([key, [path, peer, of]]) => {
    const others = samples.get(peer) ?? [];
    const each = (samples.get(path) ?? []).flatMap((ours, round) => {
      const theirs = others[round];
      const [a, b] = [ours && of(ours), theirs && of(theirs)];
      return a === undefined || b === undefined ? [] : [a / b];
    });
    return [key, median(each)] as const;
  });
  return { figures, ratios: Object.fromEntries(ratios) };
}

function notes(): readonly string[] {
  return [
    `iperf3, ${SECONDS} s each, one TCP stream; sockperf, median of requests and answers of 64 bytes over TCP; all hosts are namespaces of this machine`,
    `every ${WIDE_EVERY}th round also ${STREAMS} TCP streams, UDP, the mean of 250 pings, and the slow ways`,
    `near: ${FROM} to ${NEAR} on one wire; far: ${FROM} to ${FAR} through a router, where ours is VXLAN; Swarm's overlay is VXLAN on both`,
    `wireguard: ${FROM} to ${UNTRUSTED}, which is not trusted; where the kernel has no WireGuard, by wireguard-go`,
    "slow: the same path through bridge, netfilter and routing, with the fast path's filters taken off",
    "agents are stopped while it is measured: the kernels go on by themselves; the load runs ahead of everything else (nice -20)",
    "ratios are medians of the ratios of each round; those of latency and of processor time are peer over ours: higher is better",
  ];
}
