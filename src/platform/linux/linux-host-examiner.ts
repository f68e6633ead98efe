import { existsSync } from "node:fs";
import { readFile, statfs } from "node:fs/promises";
import { AppError } from "../../model/error.ts";
import type { Engine } from "../ports/engine.ts";
import type { HostExaminer, SeenMachine } from "../ports/host-examiner.ts";
import type { NetworkState } from "../ports/host-network.ts";
import type { Runner } from "../ports/runner.ts";
import { parseBatchOutput, parseLinks, readAddresses, parseRoutes } from "./parse-ip-output.ts";

export interface LinuxHostExaminerOptions {
  readonly runner: Runner;
  readonly engine: Pick<Engine, "info">;
  readonly dataDir: string;
  /** The machine's own ranges among its routes. */
  readonly ownRanges: (network: Pick<NetworkState, "links" | "routes">) => readonly string[];
  readonly which?: (program: string) => string | null;
}

/** What the agent cannot do without. */
const PROGRAMS = ["ip", "bridge", "nft", "iptables", "sysctl", "nsenter", "conntrack", "ping"] as const;
const SYSCTLS = [
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/rp_filter",
  "net/bridge/bridge-nf-call-iptables",
  "net/ipv6/conf/all/forwarding",
] as const;
const MEBIBYTE = 1024 * 1024;

/** By iproute2, nftables, iptables, /proc and the engine. */
export class LinuxHostExaminer implements HostExaminer {
  readonly #options: LinuxHostExaminerOptions;

  constructor(options: LinuxHostExaminerOptions) {
    this.#options = options;
  }

  async examine(): Promise<SeenMachine> {
    const { runner, ownRanges, which = Bun.which, dataDir } = this.#options;
    const argv = ["ip", "-j", "-d", "-batch", "-"];
    const [network, sysctls, vxlan, ruleset, engine, resolver, disk] = await Promise.all([
      runner.run(argv, { stdin: "address show\nroute show table main\n" }).catch(nothing),
      this.#sysctls(),
      this.#vxlan(),
      runner.run(["nft", "-j", "-t", "list", "ruleset"]).catch(nothing),
      this.#engine(),
      readFile("/etc/resolv.conf", "utf8").catch(() => ""),
      statfs(dataDir).catch(() => null),
    ]);
    const [linkRows = [], routeRows = []] = network === null ? [] : parseBatchOutput(network.stdout);
    const [links, routes] = [parseLinks(linkRows), parseRoutes(routeRows)];
    const uplink = routes.find(({ destination }) => destination === "0.0.0.0/0")?.device;
    return {
      sysctls,
      vxlan: links.some(({ kind }) => kind === "vxlan") ? true : vxlan,
      missingPrograms: PROGRAMS.filter((program) => which(program) === null),
      addresses: [...readAddresses(linkRows).values()].flat(),
      ranges: ownRanges({ links, routes }),
      uplinkMtu: links.find(({ name }) => name === uplink)?.mtu ?? null,
      ruleset: ruleset?.stdout ?? null,
      engine,
      nameservers: [...resolver.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, address = ""]) => address).slice(0, 10),
      disk:
        disk === null
          ? null
          : { freeMiB: mebibytes(disk.bavail, disk.bsize), totalMiB: mebibytes(disk.blocks, disk.bsize) },
    };
  }

  async #sysctls(): Promise<SeenMachine["sysctls"]> {
    const pairs = await Promise.all(
      SYSCTLS.map(async (key) => [key, await readFile(`/proc/sys/${key}`, "utf8").catch(() => null)] as const),
    );
    return Object.fromEntries(pairs.flatMap(([key, value]) => (value === null ? [] : [[key, value.trim()]])));
  }

  async #vxlan(): Promise<boolean | null> {
    const { runner, which = Bun.which } = this.#options;
    if (existsSync("/sys/module/vxlan")) return true;
    if (which("modprobe") === null) return null;
    const asked = await runner
      .run(["modprobe", "--dry-run", "--quiet", "vxlan"], { okCodes: [0, 1, 255] })
      .catch(nothing);
    // A kernel without its modules' directory cannot say: what is built in is not found there either.
    return asked?.code === 0 ? true : null;
  }

  async #engine(): Promise<SeenMachine["engine"]> {
    const { engine, runner } = this.#options;
    const info = await engine.info().catch(nothing);
    if (info === null) return null;
    const chain = await runner.run(["iptables", "-w", "-S", "DOCKER-USER"], { okCodes: [0, 1, 2] }).catch(nothing);
    return {
      version: info.version,
      liveRestore: info.liveRestore ?? null,
      filters: chain === null ? null : chain.code === 0,
    };
  }
}

function mebibytes(blocks: number, size: number): number {
  return Math.floor((blocks * size) / MEBIBYTE);
}

function nothing(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
