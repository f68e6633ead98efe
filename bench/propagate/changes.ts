/** The changes that are measured, and how each is made. */
import { readdirSync, readFileSync } from "node:fs";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { AppError } from "../../src/model/error.ts";
import { runsOn } from "../../test/e2e/cluster.fixture.ts";
import type { HostProbe } from "./host-probe.ts";
import { sharedMs, type Step } from "./probe-protocol.ts";

/** Of a service that clients register over `/v1`, and of one that containers provide. */
export const REGISTERED = "prop-reg";
export const CONTAINERS = "prop-web";
/** On every host a program of the bench answers here. */
export const BACKEND_PORT = 7080;

/** How long a change took to be seen on the last of the hosts. */
export interface Latency {
  readonly cause: string;
  readonly dnsMs: number;
  readonly proxyMs: number;
}

export interface Bed {
  readonly world: TourWorld;
  readonly probes: readonly HostProbe[];
}

export interface Watched {
  readonly service: string;
  readonly causes: readonly string[];
  /** One for each cause. */
  readonly steps: readonly Step[];
  /** Makes the first change and says when it began. */
  readonly change: () => Promise<number>;
  /** When the others began, asked once all has been seen. */
  readonly later?: () => Promise<readonly number[]>;
}

/** Makes a change and waits on every host for what follows from it. */
export async function watchAll({ probes }: Bed, watched: Watched): Promise<readonly Latency[]> {
  const { service, causes, steps, change, later } = watched;
  const expectation = { name: `${service}.service.consul`, backend: `svc_${service}`, steps };
  const seeing = Promise.all(probes.map((probe) => probe.expect(causes.join(", "), expectation)));
  const firstMs = await change();
  const seen = await seeing;
  const startsMs = [firstMs, ...((await later?.()) ?? [])];
  return causes.map((cause, at) => {
    const startMs = startsMs[at] ?? Number.NaN;
    return {
      cause,
      dnsMs: Math.max(...seen.map(({ dns }) => dns[at] ?? Number.NaN)) - startMs,
      proxyMs: Math.max(...seen.map(({ proxy }) => proxy[at] ?? Number.NaN)) - startMs,
    };
  });
}

/** One endpoint comes and goes, over the API of the host whose turn it is, at the address of another. */
export async function registerAndBack(bed: Bed, turn: number): Promise<readonly Latency[]> {
  const { by, address } = partners(bed, turn);
  const id = `coming-${turn}`;
  const body = { Name: REGISTERED, ID: id, Address: address, Port: BACKEND_PORT };
  return [
    ...(await watchAll(bed, {
      service: REGISTERED,
      causes: ["register"],
      steps: [{ address, present: true }],
      change: () => by.put("/v1/agent/service/register", body),
    })),
    ...(await watchAll(bed, {
      service: REGISTERED,
      causes: ["deregister"],
      steps: [{ address, present: false }],
      change: () => by.put(`/v1/agent/service/deregister/${id}`),
    })),
  ];
}

/** The check of one endpoint passes and fails; the endpoint itself stays registered. */
export async function checkAndBack(bed: Bed, turns: number): Promise<readonly Latency[]> {
  const { by, address } = partners(bed, 0);
  const id = "checked";
  const check = { CheckID: id, TTL: "10m", Status: "critical" };
  const body = { Name: REGISTERED, ID: id, Address: address, Port: BACKEND_PORT, Check: check };
  await by.put("/v1/agent/service/register", body);
  const all: Latency[] = [];
  for (let turn = 0; turn < turns; turn += 1) {
    for (const [cause, verb, present] of [
      ["check passes", "pass", true],
      ["check fails", "fail", false],
    ] as const) {
      const change = (): Promise<number> => by.put(`/v1/agent/check/${verb}/${id}`);
      const steps = [{ address, present }];
      all.push(...(await watchAll(bed, { service: REGISTERED, causes: [cause], steps, change })));
    }
  }
  await by.put(`/v1/agent/service/deregister/${id}`);
  return all;
}

function partners({ world, probes }: Bed, turn: number): { readonly by: HostProbe; readonly address: string } {
  const by = probes[turn % probes.length];
  // The first host has the endpoint that stays.
  const at = world.lab.hosts[1 + (turn % (world.lab.hosts.length - 1))];
  if (by === undefined || at === undefined) throw new Error("The lab has too few hosts");
  return { by, address: world.lab.node(at).address };
}

/** A container is killed from outside, and another comes in its place: until the last host is without it, and has the new one. */
export async function killAndReplace(bed: Bed, turn: number, count: number): Promise<readonly Latency[]> {
  const { world } = bed;
  const before = await world.settled(CONTAINERS, count);
  const victim = before[turn % before.length];
  if (victim === undefined) throw new Error("There is no container to kill");
  const run = (await runsOn(world.lab, victim.host)).find(({ instance }) => instance === victim.id);
  if (run === undefined) throw new AppError("not-found", `Cannot kill ${victim.id}: its container is not there`);
  const pid = firstProcessOf(run.container);
  const known = new Set(before.map(({ id }) => id));
  return watchAll(bed, {
    service: CONTAINERS,
    causes: ["instance dies", "instance healthy"],
    steps: [{ address: victim.address, present: false }, { count }],
    change: () => {
      const killedMs = sharedMs();
      process.kill(pid, "SIGKILL");
      return Promise.resolve(killedMs);
    },
    later: async () => {
      const fresh = (await world.settled(CONTAINERS, count)).find(({ id }) => !known.has(id));
      if (fresh === undefined) throw new AppError("not-found", `Cannot find what came in place of ${victim.id}`);
      return [await firstGoodAnswer(bed, fresh)];
    },
  });
}

/** The process that is 1 inside, as this machine numbers it: the oldest of those in the container's group. */
function firstProcessOf(container: string): number {
  const inside = readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return readFileSync(`/proc/${entry}/cgroup`, "utf8").includes(container);
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
  const [first] = inside.map(Number).toSorted((a, b) => a - b);
  if (first === undefined) throw new AppError("not-found", `Cannot find the processes of container ${container}`);
  return first;
}

/** From when on the instance was well, by its own log: its first good answer to its check. By `sharedMs`. */
async function firstGoodAnswer(
  { world }: Bed,
  { host, id }: { readonly host: string; readonly id: string },
): Promise<number> {
  const runs = (await runsOn(world.lab, host)).filter(({ instance }) => instance === id);
  const container = runs[0]?.container ?? "";
  const { stdout, stderr } = await world.lab.exec(host, ["docker", "logs", "--timestamps", container]);
  const line = `${stdout}\n${stderr}`
    .split("\n")
    .filter((each) => each.includes("response:200"))
    .toSorted()[0];
  const wallMs = Date.parse(line?.split(" ")[0] ?? "");
  if (Number.isNaN(wallMs))
    throw new AppError("not-found", `Cannot find the first answer in the log of ${id}: ${stdout}${stderr}`);
  return wallMs;
}
