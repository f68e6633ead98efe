import { Resolver } from "node:dns/promises";
import { stat } from "node:fs/promises";
import { z } from "zod";
import { AppError } from "../../model/error.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { isIpv6 } from "../../model/ip6.ts";
import type {
  ConnectResult,
  NameAnswer,
  NamespacePath,
  NetInspector,
  PingResult,
  SeenLink,
  SeenListener,
  SeenNamespace,
  SeenRoute,
} from "../ports/net-inspector.ts";
import type { Runner } from "../ports/runner.ts";
import { parseBatchOutput, parseLinks, readAddresses } from "./parse-ip-output.ts";
import { parseProcSockets } from "./parse-proc-sockets.ts";

type Target = Parameters<NetInspector["connect"]>[1];

export interface LinuxNetInspectorOptions {
  readonly runner: Runner;
  /** argv of the program that tries a connection in the namespace that it is started in; see `net-probe.ts` of the CLI. */
  readonly probeArgv: readonly string[];
}

/** IP and ICMP header: what `ping -s` does not count. */
const PING_HEADERS = 28;
const PING6_HEADERS = 48;
const RESOLVE_MS = 1000;
/** A program takes some time to start before its own deadline counts. */
const START_MS = 2000;

const routeShape = z.array(
  z.object({
    type: z.string().optional(),
    dev: z.string().optional(),
    gateway: z.string().optional(),
    metrics: z.array(z.object({ mtu: z.number().optional() })).optional(),
  }),
);
const neighbourShape = z.array(
  z.object({ dev: z.string(), lladdr: z.string().optional(), state: z.array(z.string()).default([]) }),
);
const connectShape = z.object({
  outcome: z.enum(["open", "refused", "silent", "unreachable", "failed"]),
  ms: z.number(),
  cause: z.string().nullable(),
});

/** By iproute2, nftables, ping and nsenter. */
export class LinuxNetInspector implements NetInspector {
  readonly #options: LinuxNetInspectorOptions;

  constructor(options: LinuxNetInspectorOptions) {
    this.#options = options;
  }

  async look(namespace: NamespacePath, to: HostAddress): Promise<SeenNamespace> {
    const stdin = `address show\nroute get ${to}\n`;
    // -force: without a way to `to` its line fails, and the first is answered.
    const argv = ["ip", "-j", "-d", "-force", "-batch", "-"];
    const { stdout } = await this.#inside(namespace, argv, { stdin, okCodes: [0, 1, 2] });
    const [links = [], routes = []] = parseBatchOutput(stdout);
    const devices = parseLinks(links);
    return {
      addresses: [...readAddresses(links).values()].flat(),
      route: readRoute(routes, new Map(devices.map(({ name, mtu }) => [name, mtu]))),
    };
  }

  async links(): Promise<readonly SeenLink[]> {
    const { stdout } = await this.#options.runner.run(["ip", "-j", "-d", "address", "show"]);
    const entries = parseBatchOutput(stdout).flat();
    const addresses = readAddresses(entries);
    return parseLinks(entries).map(({ name, up }) => ({ name, up, addresses: addresses.get(name) ?? [] }));
  }

  async neighbour(address: HostAddress): ReturnType<NetInspector["neighbour"]> {
    const { stdout } = await this.#options.runner.run(["ip", "-j", "neighbour", "show", address], { okCodes: [0, 1] });
    const [first] = neighbourShape.safeParse(parseBatchOutput(stdout).flat()).data ?? [];
    return first === undefined ? null : { mac: first.lladdr ?? null, state: first.state.join(",") };
  }

  async listeners(namespace: NamespacePath, protocol: "tcp" | "udp"): Promise<readonly SeenListener[]> {
    // /proc/net is that of the reader, and cat is in the namespace. Without IPv6 the second file is not there.
    const argv = ["cat", `/proc/net/${protocol}`, `/proc/net/${protocol}6`];
    const { stdout } = await this.#inside(namespace, argv, { okCodes: [0, 1] });
    return parseProcSockets(stdout, protocol);
  }

  async connect(namespace: NamespacePath, target: Target): Promise<ConnectResult> {
    const { address, port, protocol, timeoutMs } = target;
    const argv = [...this.#options.probeArgv, address, String(port), protocol, String(timeoutMs)];
    const { stdout } = await this.#inside(namespace, argv, { timeoutMs: timeoutMs + START_MS });
    return connectShape.parse(JSON.parse(stdout));
  }

  async ping(namespace: NamespacePath, target: Parameters<NetInspector["ping"]>[1]): Promise<PingResult> {
    const six = !isIpv4(target.address);
    const size = String(Math.max(0, target.bytes - (six ? PING6_HEADERS : PING_HEADERS)));
    // Two, so that one that is lost by chance is no finding.
    const argv = ["ping", "-n", "-c", "2", "-i", "0.2", "-w", seconds(target.timeoutMs), "-M", "do", "-s", size];
    if (six) argv.push("-6");
    const timeoutMs = target.timeoutMs + START_MS;
    const { code, stdout, stderr } = await this.#inside(namespace, [...argv, target.address], {
      okCodes: [0, 1, 2],
      timeoutMs,
    });
    if (/[1-9]\d* received/.test(stdout)) return "answered";
    if (/frag needed|message too long|packet too big/i.test(stdout + stderr)) return "too-big";
    return code === 1 ? "lost" : "failed";
  }

  async resolve(name: string, server: HostAddress, family: 4 | 6): Promise<NameAnswer> {
    const resolver = new Resolver({ timeout: RESOLVE_MS, tries: 1 });
    resolver.setServers([server]);
    try {
      const found = await (family === 4 ? resolver.resolve4(name) : resolver.resolve6(name));
      return { code: "NOERROR", addresses: found.filter(isAddress) };
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code).replace(/^DNS_/, "") : "";
      if (code === "ENOTFOUND") return { code: "NXDOMAIN", addresses: [] };
      return { code: code === "ENODATA" ? "NOERROR" : "SILENT", addresses: [] };
    }
  }

  async ruleset(): Promise<string | null> {
    const { code, stdout } = await this.#options.runner.run(["nft", "-j", "-t", "list", "ruleset"], {
      okCodes: [0, 1],
    });
    return code === 0 ? stdout : null;
  }

  async #inside(
    namespace: NamespacePath,
    argv: readonly string[],
    options: Parameters<Runner["run"]>[1],
  ): ReturnType<Runner["run"]> {
    const { runner } = this.#options;
    if (namespace === null) return runner.run(argv, options);
    const there = await stat(namespace).catch(() => null);
    if (there === null) throw new AppError("not-found", `Cannot look into ${namespace}: it is gone`);
    return runner.run(["nsenter", `--net=${namespace}`, "--", ...argv], options);
  }
}

function isAddress(text: string | undefined): text is HostAddress {
  return text !== undefined && (isIpv4(text) || isIpv6(text));
}

function readRoute(entries: readonly unknown[], mtus: ReadonlyMap<string, number>): SeenRoute | null {
  const [route] = routeShape.safeParse(entries).data ?? [];
  if (route?.dev === undefined || !["unicast", "local", undefined].includes(route.type)) return null;
  const mtu = route.metrics?.find((each) => each.mtu !== undefined)?.mtu ?? mtus.get(route.dev) ?? null;
  return { device: route.dev, via: isAddress(route.gateway) ? route.gateway : null, mtu };
}

/** ping takes whole seconds for its deadline. */
function seconds(ms: number): string {
  return String(Math.max(1, Math.ceil(ms / 1000)));
}
