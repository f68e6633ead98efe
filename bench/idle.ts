import { testLabName } from "../test/e2e/cluster.fixture.ts";
import type { Lab } from "../src/lab/lab.ts";
import { upLab } from "../src/lab/lab.ts";
import { ownBinary } from "../src/lab/own-binary.ts";
import { type Bench, median } from "./bench.ts";

const HOSTS = 2;
/** What DESIGN promises of an agent that has nothing to do. */
const RESIDENT_BUDGET_MIB = 80;
const CPU_BUDGET_PERCENT = 1;
/** Joining is no idleness: links settle, blocks come, the heap that this took is given back. */
const SETTLE_MS = 30_000;
const WINDOW_MS = 60_000;
const QUICK_WINDOW_MS = 10_000;
const TICKS_PER_S = 100;

interface Reading {
  readonly residentMiB: number;
  readonly anonymousMiB: number;
  readonly ownTicks: number;
  readonly childTicks: number;
}

/** Memory and processor time of agents that have nothing to do, and of their server. */
export const benchIdle: Bench = async ({ quick, progress }) => {
  progress(`lab with ${HOSTS} hosts…`);
  const lab = await upLab({ name: testLabName("idle"), hosts: HOSTS, binary: ownBinary() });
  try {
    await Bun.sleep(SETTLE_MS);
    const windowMs = quick ? QUICK_WINDOW_MS : WINDOW_MS;
    progress(`nothing happens for ${windowMs / 1000} s…`);
    const before = await Promise.all(lab.hosts.map((host) => readAgent(lab, host)));
    await Bun.sleep(windowMs);
    const after = await Promise.all(lab.hosts.map((host) => readAgent(lab, host)));
    const percent = (ticks: (reading: Reading) => number): number =>
      median(after.map((now, at) => (ticks(now) - ticks(before[at] ?? now)) * (100_000 / TICKS_PER_S / windowMs)));
    const residentMiB = median(after.map((one) => one.residentMiB));
    const cpuPercent = percent((one) => one.ownTicks);
    return {
      rounds: 1,
      figures: {
        residentMiB,
        anonymousMiB: median(after.map((one) => one.anonymousMiB)),
        cpuPercent,
        cpuOfChildrenPercent: percent((one) => one.childTicks),
      },
      ratios: {
        resident_budget: RESIDENT_BUDGET_MIB / residentMiB,
        cpu_budget: CPU_BUDGET_PERCENT / cpuPercent,
      },
      notes: [
        `One agent, the middle of ${HOSTS}; percent of one core. Budget: ${RESIDENT_BUDGET_MIB} MiB, ${CPU_BUDGET_PERCENT} %.`,
        "anonymousMiB is its own; the rest are pages of the program's file, which all processes of it on a machine share.",
      ],
    };
  } finally {
    await lab.down();
  }
};

async function readAgent(lab: Lab, host: string): Promise<Reading> {
  const pid = (await lab.mustExec(host, ["cat", "/run/apollo/agent.pid"])).trim().split(" ")[0] ?? "";
  const rollup = await lab.mustExec(host, ["cat", `/proc/${pid}/smaps_rollup`]);
  const stat = await lab.mustExec(host, ["cat", `/proc/${pid}/stat`]);
  // Behind the program's name, which may have blanks: utime is field 14 of proc(5), then stime, cutime, cstime.
  const fields = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
  return {
    residentMiB: readMiB(rollup, "Rss"),
    anonymousMiB: readMiB(rollup, "Anonymous"),
    ownTicks: user + system,
    childTicks: childUser + childSystem,
  };
}

function readMiB(rollup: string, key: string): number {
  return Number(new RegExp(`^${key}: +(\\d+) kB$`, "m").exec(rollup)?.[1]) / 1024;
}
