/** A lab of four hosts with a container each on our network and on Swarm's, and a switch for our fast path. */
import { WEB_IMAGE, publishWebImage } from "../src/lab/images.ts";
import type { Lab } from "../src/lab/lab.ts";
import { upLab } from "../src/lab/lab.ts";
import { waitFor } from "../src/lab/wait-for.ts";
import type { Place } from "./overlay-load.ts";
import { inPlace, serveLoad } from "./overlay-load.ts";
import { swarmUp } from "./swarm.ts";

const BINARY = "dist/apollo";
const SWARM_NETWORK = "bench-overlay";
const SWARM_RANGE = "10.9.0.0/16";
/** Place of the fast path's filters in the line of a device's. */
const PREFERENCE = "49201";
const READY_MS = 30_000;
/** All but h4, whose links are WireGuard's therefore. */
const TRUSTED = "10.77.1.8/30,10.77.1.12/31,10.77.2.0/24";
const UNTRUSTED = "h4";
const HOSTS = 4;

export interface Places {
  readonly host: Place;
  readonly apollo: Place;
  readonly swarm: Place;
}

/** Which program of the fast path a device runs, by the path that it is kept at. */
interface Filter {
  readonly device: string;
  readonly program: string;
}

export class OverlayLab {
  readonly lab: Lab;
  readonly places: ReadonlyMap<string, Places>;
  readonly #filters: ReadonlyMap<string, readonly Filter[]>;

  private constructor(lab: Lab, places: ReadonlyMap<string, Places>, filters: ReadonlyMap<string, readonly Filter[]>) {
    this.lab = lab;
    this.places = places;
    this.#filters = filters;
  }

  static async up(progress: (text: string) => void): Promise<OverlayLab> {
    const lab = await upLab({
      hosts: HOSTS,
      binary: BINARY,
      serverArgs: ["--encryption", "auto", "--trusted-ranges", TRUSTED],
      onProgress: progress,
    });
    try {
      await publishWebImage(lab.name, lab.hosts[0] ?? "h1");
      await swarmUp(lab, { network: SWARM_NETWORK, options: ["--attachable", "--subnet", SWARM_RANGE] });
      const places = new Map(
        await Promise.all(lab.hosts.map(async (host) => [host, await startContainers(lab, host)] as const)),
      );
      const filters = new Map<string, readonly Filter[]>();
      for (const host of lab.hosts) filters.set(host, await awaitFilters(lab, host));
      await awaitReach(lab, places);
      for (const host of lab.hosts) await putAhead(lab, host);
      // From here on only kernels work, as they do without an agent; nothing else takes part in the measurement.
      await Promise.all(lab.hosts.map((host) => stopAgent(lab, host)));
      const all = [...places.values()].flatMap(({ host, apollo, swarm }) => [host, apollo, swarm]);
      await Promise.all(all.map((place) => serveLoad(lab, place)));
      return new OverlayLab(lab, places, filters);
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  at(host: string): Places {
    const places = this.places.get(host);
    if (places === undefined) throw new Error(`There is no host ${host}`);
    return places;
  }

  /** Takes the filters off every device, or puts them back: programs and maps stay as the agent left them. */
  async setFastPath(on: boolean): Promise<void> {
    for (const [host, filters] of this.#filters) {
      const lines = filters.map(({ device, program }) => {
        const place = `dev ${device} ingress pref ${PREFERENCE}`;
        return on
          ? `filter replace ${place} handle 1 protocol all bpf direct-action object-pinned ${program}`
          : `filter del ${place}`;
      });
      await this.lab.mustExec(host, ["tc", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
    }
  }
}

async function startContainers(lab: Lab, host: string): Promise<Places> {
  await lab.mustExec(host, ["docker", "pull", "-q", WEB_IMAGE], { timeoutMs: 60_000 });
  const start = async (network: string): Promise<Place> => {
    const name = `bench-${network}-${host}`;
    await lab.mustExec(host, ["docker", "run", "-d", "--name", name, "--network", network, WEB_IMAGE], {
      timeoutMs: 60_000,
    });
    const format = `{{.State.Pid}} {{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
    const [pid = "", address = ""] = (await lab.mustExec(host, ["docker", "inspect", "-f", format, name]))
      .trim()
      .split(" ");
    return { host, address, pid: Number(pid) };
  };
  const apollo = await start("apollo");
  return { host: { host, address: lab.node(host).address, pid: null }, apollo, swarm: await start(SWARM_NETWORK) };
}

/** The agent has seen the container and attached all it attaches: uplink, tunnel and the container's wire. */
async function awaitFilters(lab: Lab, host: string): Promise<readonly Filter[]> {
  // Container, uplink and tunnel, since each has a tunnelled peer; the untrusted one has links of neither kind.
  const wanted = host === UNTRUSTED ? 1 : 3;
  return waitFor(
    async () => {
      const found = await listFilters(lab, host);
      return found.length >= wanted ? found : null;
    },
    { what: `the fast path on ${host}`, timeoutMs: READY_MS, intervalMs: 200 },
  );
}

/** From the first host to all others. */
async function awaitReach(lab: Lab, places: ReadonlyMap<string, Places>): Promise<void> {
  const [first, ...others] = [...places.values()].map(({ apollo }) => apollo);
  if (first === undefined) return;
  for (const { host, address } of others) {
    const argv = inPlace(first, ["ping", "-n", "-c", "1", "-W", "1", address]);
    await waitFor(async () => (await lab.exec(first.host, argv)).code === 0, {
      what: `the way from ${first.host} to ${host}`,
      timeoutMs: READY_MS,
      intervalMs: 200,
    });
  }
}

async function listFilters(lab: Lab, host: string): Promise<readonly Filter[]> {
  const folder = (
    await lab.mustExec(host, ["find", "/run/apollo/bpf", "-mindepth", "1", "-maxdepth", "1", "-type", "d"])
  ).trim();
  const devices = (await lab.mustExec(host, ["tc", "qdisc", "show"]))
    .split("\n")
    .flatMap((line) => /clsact .* dev (\S+)/.exec(line)?.[1] ?? []);
  const filters: Filter[] = [];
  for (const device of devices) {
    const text = await lab.mustExec(host, ["tc", "filter", "show", "dev", device, "ingress", "pref", PREFERENCE]);
    const name = /(from_\w+):/.exec(text)?.[1];
    if (name !== undefined) filters.push({ device, program: `${folder}/${name}` });
  }
  return filters;
}

/** Where encryption is a program, it is as much a part of the way as the kernel is, and waits for nobody either. */
async function putAhead(lab: Lab, host: string): Promise<void> {
  const { stdout } = await lab.exec(host, ["pidof", "wireguard-go"]);
  const pids = stdout.trim().split(/\s+/).filter(Boolean);
  if (pids.length > 0) await lab.mustExec(host, ["renice", "-n", "-20", "-p", ...pids]);
}

async function stopAgent(lab: Lab, host: string): Promise<void> {
  const pid = (await lab.mustExec(host, ["cat", "/run/apollo/agent.pid"])).trim().split(" ")[0] ?? "";
  await lab.mustExec(host, ["kill", pid]);
  await waitFor(async () => (await lab.exec(host, ["kill", "-0", pid])).code !== 0, {
    what: `the end of the agent on ${host}`,
    timeoutMs: READY_MS,
    intervalMs: 50,
  });
}
