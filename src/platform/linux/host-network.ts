import { AppError, unreachable } from "../../model/error.ts";
import type { HostAddress } from "../../model/ip6.ts";
import type { Clock } from "../ports/clock.ts";
import { CHOSEN_MARK, NO_ADDRESS } from "../ports/host-network.ts";
import type {
  HostNetwork,
  NetworkAction,
  NetworkRoute,
  NetworkRoute6,
  NetworkState,
  TunnelPeer,
} from "../ports/host-network.ts";
import type { LineRunner } from "../ports/runner.ts";
import { parseAddresses6, parseAnnounced, parseNeighbours6, parseRoutes6 } from "./parse-ip6-output.ts";
import { parseWgDump } from "./parse-wg-dump.ts";
import { applyWireguard, findWireguardSupport } from "./wireguard-device.ts";
import type { WireguardAction } from "./wireguard-device.ts";
import {
  ROUTE_PROTOCOL,
  parseBatchOutput,
  parseLinks,
  parsePath,
  parseRoutes,
  parseRulesetDigest,
  parseTunnelPeers,
} from "./parse-ip-output.ts";

type Path = NonNullable<Awaited<ReturnType<HostNetwork["pathTo"]>>>;

/** `ip monitor` and `nft monitor` end when their socket overruns: they are started again, after a pause in case they cannot start. */
const MONITOR_RESTART_MS = 1000;
/** The engine's filter chain for rules of others; the engine makes it when it starts and keeps what is in it. */
const ENGINE_CHAIN = "DOCKER-USER";
const TABLE = ["inet", "apollo"];
const BRIDGE_TABLE = ["bridge", "apollo"];

/** The network namespace that `runner` works in, by iproute2, nftables, iptables and procps. */
export class LinuxHostNetwork implements HostNetwork {
  readonly #runner: LineRunner;
  readonly #clock: Clock;
  /** Questions of one turn are asked of one `ip`: a thousand peers cost one process. */
  #questions: { readonly addresses: Set<HostAddress>; readonly answers: Promise<ReadonlyMap<string, Path>> } | null =
    null;

  readonly #privateKeyOf: (publicKey: string) => string | null;
  readonly #which: (program: string) => string | null;

  constructor(options: {
    readonly runner: LineRunner;
    readonly clock: Clock;
    /** Needed to make WireGuard devices. */
    readonly privateKeyOf?: (publicKey: string) => string | null;
    readonly which?: (program: string) => string | null;
  }) {
    this.#runner = options.runner;
    this.#clock = options.clock;
    this.#privateKeyOf = options.privateKeyOf ?? (() => null);
    this.#which = options.which ?? Bun.which;
  }

  async observe(want: Parameters<HostNetwork["observe"]>[0]): Promise<NetworkState> {
    const { wireguardDevice: encrypting } = want;
    const { range6 = null } = want;
    const [tables, wireguard, wireguardSupport, sysctls, rulesetDigest, rangeAllowed, six] = await Promise.all([
      this.#observeTables(want.tunnelDevice),
      encrypting === undefined ? null : this.#observeWireguard(encrypting),
      encrypting === undefined ? null : findWireguardSupport(this.#runner, this.#which),
      this.#observeSysctls(want.sysctls),
      this.#observeRuleset(),
      this.#observeAllowed(want.range),
      range6 === null ? {} : this.#observe6(range6),
    ]);
    return { ...tables, wireguard, wireguardSupport, sysctls, rulesetDigest, rangeAllowed, ...six };
  }

  async apply(action: NetworkAction): Promise<void> {
    switch (action.kind) {
      case "put-ruleset":
        await this.#runner.run(["nft", "-f", "-"], { stdin: action.text });
        return;
      case "delete-ruleset":
        // Declared first, since deleting a table that is not there fails.
        await this.#runner.run(["nft", "-f", "-"], { stdin: deleteTable(TABLE) });
        // On its own: a kernel that cannot filter on bridges refuses to speak of it, and has none.
        await this.#runner.run(["nft", "-f", "-"], { stdin: deleteTable(BRIDGE_TABLE), okCodes: [0, 1] });
        return;
      case "set-sysctl":
        await this.#runner.run(["sysctl", "-q", "-w", `${action.key}=${action.value}`]);
        return;
      case "allow-range":
        return this.#allowRange(action.range);
      case "remove-allow-range":
        return this.#removeAllowRange(action.range);
      case "add-wireguard":
      case "set-wireguard-key":
      case "put-wireguard-peers":
      case "delete-wireguard-peers":
        return applyWireguard(action, { runner: this.#runner, privateKeyOf: this.#privateKeyOf });
      case "put-tunnel-peer":
        return this.#putTunnelPeer(action.device, action.peer);
      case "delete-tunnel-peer":
        return this.#deleteTunnelPeer(action.device, action.peer);
      default:
        await this.#runner.run(["ip", "-batch", "-"], { stdin: `${ipCommands(action).join("\n")}\n` });
    }
  }

  async pathTo(address: HostAddress): Promise<Path | null> {
    if (this.#questions === null) {
      const addresses = new Set<HostAddress>();
      const answers = Promise.resolve().then(() => {
        this.#questions = null;
        return this.#askPaths(addresses);
      });
      this.#questions = { addresses, answers };
    }
    this.#questions.addresses.add(address);
    return (await this.#questions.answers).get(address) ?? null;
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await Promise.all([
      // Each container start reports its veth several times; no device of that kind is ours to look after.
      this.#monitor(["ip", "-o", "monitor", "link", "address", "route", "netconf"], {
        onLine: (line) => (line.includes("veth") ? undefined : onChange()),
        onChange,
        signal,
      }),
      // Tables alone: our own changes of the ruleset would else come as thousands of lines.
      this.#monitor(["nft", "monitor", "destroy", "tables"], {
        onLine: (line) =>
          line.includes(TABLE.join(" ")) || line.includes(BRIDGE_TABLE.join(" ")) ? onChange() : undefined,
        onChange,
        signal,
      }),
    ]);
  }

  /** Starts the program again when it ends. */
  async #monitor(
    argv: readonly string[],
    to: { readonly onLine: (line: string) => void; readonly onChange: () => void; readonly signal: AbortSignal },
  ): Promise<void> {
    while (!to.signal.aborted) {
      await this.#runner.follow(argv, to.onLine, to.signal);
      if (to.signal.aborted) return;
      // Changes may have been missed in between.
      to.onChange();
      await this.#clock.sleep(MONITOR_RESTART_MS, to.signal);
    }
  }

  async #observeTables(device: string): Promise<Pick<NetworkState, "links" | "routes" | "tunnelPeers">> {
    const commands = "address show\nroute show table main\nneighbour show nud permanent\n";
    const { stdout } = await this.#runner.run(["ip", "-j", "-d", "-batch", "-"], { stdin: commands });
    const [links = [], routes = [], neighbours = []] = parseBatchOutput(stdout);
    const forwarding = parseLinks(links).some((link) => link.name === device && link.kind === "vxlan")
      ? await this.#runner.run(["bridge", "-j", "fdb", "show", "dev", device])
      : null;
    return {
      links: parseLinks(links),
      routes: parseRoutes(routes),
      tunnelPeers: parseTunnelPeers(neighbours, parseBatchOutput(forwarding?.stdout ?? "").flat(), device),
    };
  }

  async #observe6(range6: string): Promise<Pick<NetworkState, "ip6" | "range6Allowed">> {
    const on = await this.#observeSysctls(["net/ipv6/conf/all/forwarding"]);
    if (Object.keys(on).length === 0) return { ip6: null };
    const commands = "address show\nroute show table main\nneighbour show nud permanent\n";
    const [{ stdout }, range6Allowed] = await Promise.all([
      this.#runner.run(["ip", "-6", "-j", "-d", "-batch", "-"], { stdin: commands }),
      this.#observeAllowed(range6),
    ]);
    const [links = [], routes = [], neighbours = []] = parseBatchOutput(stdout);
    const devices = parseAnnounced(routes);
    const accepts = await this.#observeSysctls(devices.map(acceptRaKey));
    const announced = devices.map((device) => ({ device, acceptRa: accepts[acceptRaKey(device)] ?? "" }));
    const tables = {
      addresses: parseAddresses6(links),
      routes: parseRoutes6(routes),
      neighbours: parseNeighbours6(neighbours),
    };
    return { ip6: { ...tables, announced }, range6Allowed };
  }

  /** Null also while the program that should answer for the device does not: it is of no use then. */
  async #observeWireguard(device: string): Promise<NetworkState["wireguard"]> {
    if (this.#which("wg") === null) return null;
    const { code, stdout } = await this.#runner.run(["wg", "show", device, "dump"], { okCodes: [0, 1] });
    return code === 0 ? parseWgDump(stdout, this.#clock.nowMs()) : null;
  }

  async #observeSysctls(keys: readonly string[]): Promise<Readonly<Record<string, string>>> {
    if (keys.length === 0) return {};
    const root = "/proc/sys/";
    // Exit code 2: some files are not there, which is an answer.
    const { stdout } = await this.#runner.run(["grep", "-sH", "", ...keys.map((key) => root + key)], {
      okCodes: [0, 1, 2],
    });
    const pairs = stdout.split("\n").flatMap((line) => {
      const colon = line.lastIndexOf(":");
      return colon < 0 ? [] : [[line.slice(root.length, colon), line.slice(colon + 1)] as const];
    });
    return Object.fromEntries(pairs);
  }

  /** Rules without the elements of their sets: tens of thousands of those would take a second to print and read. */
  async #observeRuleset(): Promise<string | null> {
    const [main, bridge] = await Promise.all(
      [TABLE, BRIDGE_TABLE].map((table) =>
        this.#runner.run(["nft", "-j", "-t", "list", "table", ...table], { okCodes: [0, 1] }),
      ),
    );
    if (main === undefined || main.code !== 0) return null;
    return parseRulesetDigest([main.stdout, ...(bridge?.code === 0 ? [bridge.stdout] : [])]);
  }

  /** Without the engine's chain it is the policy that decides: Docker leaves DROP behind when it goes. */
  async #observeAllowed(range: string): Promise<boolean> {
    const checks = await Promise.all(allowRules(range).map((rule) => this.#hasRule(range, rule)));
    if (checks.every((there) => there)) return true;
    if (await this.#hasEngineChain(range)) return false;
    const { stdout } = await this.#runner.run([filterOf(range), "-w", "-S", "FORWARD"]);
    return stdout.startsWith("-P FORWARD ACCEPT");
  }

  async #hasEngineChain(range: string): Promise<boolean> {
    return (await this.#runner.run([filterOf(range), "-w", "-S", ENGINE_CHAIN], { okCodes: [0, 1, 2] })).code === 0;
  }

  async #allowRange(range: string): Promise<void> {
    if (!(await this.#hasEngineChain(range))) {
      throw new AppError(
        "unavailable",
        `Cannot allow ${range} in the engine's filter: chain ${ENGINE_CHAIN} is not there`,
        {
          hint: "Start the container engine: systemctl start docker",
        },
      );
    }
    // First in the chain: whatever a user put there to drop comes after it only for the range itself.
    for (const rule of allowRules(range)) {
      if (!(await this.#hasRule(range, rule))) await this.#runner.run([filterOf(range), "-w", "-I", ...rule]);
    }
  }

  async #hasRule(range: string, rule: readonly string[]): Promise<boolean> {
    return (await this.#runner.run([filterOf(range), "-w", "-C", ...rule], { okCodes: [0, 1, 2] })).code === 0;
  }

  async #removeAllowRange(range: string): Promise<void> {
    for (const rule of allowRules(range)) {
      if (await this.#hasRule(range, rule)) await this.#runner.run([filterOf(range), "-w", "-D", ...rule]);
    }
  }

  async #putTunnelPeer(device: string, peer: TunnelPeer): Promise<void> {
    const { mac, underlay } = peer;
    await this.#runner.run(["bridge", "fdb", "replace", mac, "dev", device, "dst", underlay, "self", "permanent"]);
    await this.#runner.run([
      "ip",
      "neighbour",
      "replace",
      peer.gateway,
      "lladdr",
      mac,
      "dev",
      device,
      "nud",
      "permanent",
    ]);
  }

  async #deleteTunnelPeer(device: string, peer: TunnelPeer): Promise<void> {
    if (peer.gateway !== NO_ADDRESS) {
      await this.#runner.run(["ip", "neighbour", "del", peer.gateway, "dev", device]);
    }
    if (peer.underlay !== NO_ADDRESS) {
      await this.#runner.run(["bridge", "fdb", "del", peer.mac, "dev", device, "dst", peer.underlay, "self"]);
    }
  }

  async #askPaths(addresses: ReadonlySet<HostAddress>): Promise<ReadonlyMap<string, Path>> {
    const stdin = ["link show", ...[...addresses].map((address) => `route get ${address}`), ""].join("\n");
    // -force: an address without a route fails its line, exit code 1, and the others are answered.
    const { stdout } = await this.#runner.run(["ip", "-j", "-force", "-batch", "-"], { stdin, okCodes: [0, 1] });
    const [links = [], ...answers] = parseBatchOutput(stdout);
    const mtus = new Map(parseLinks(links).map((link) => [link.name, link.mtu]));
    return new Map(
      answers.flat().flatMap((answer) => {
        const path = parsePath(answer);
        if (path === null) return [];
        const { address, device, via, source } = path;
        const mtu = path.mtu ?? mtus.get(device);
        return mtu === undefined ? [] : [[address, { device, via, source, mtu }] as const];
      }),
    );
  }
}

type IpAction = Exclude<
  Exclude<NetworkAction, WireguardAction>,
  {
    kind:
      | "put-ruleset"
      | "delete-ruleset"
      | "set-sysctl"
      | "allow-range"
      | "remove-allow-range"
      | "put-tunnel-peer"
      | "delete-tunnel-peer";
  }
>;

/** Lines for `ip -batch`. Values are names and addresses that were parsed before, never free text with spaces. */
function ipCommands(action: IpAction): readonly string[] {
  switch (action.kind) {
    case "add-bridge": {
      const { name, address, prefix, mac, mtu } = action;
      return [
        `link add name ${name} mtu ${mtu} address ${mac} type bridge`,
        `address add ${address}/${prefix} dev ${name}`,
        `link set dev ${name} up`,
      ];
    }
    case "add-vxlan": {
      const { name, vni, port, local, mac, mtu } = action;
      return [
        `link add name ${name} mtu ${mtu} address ${mac} type vxlan id ${vni} dstport ${port} local ${local} nolearning`,
        `link set dev ${name} up`,
      ];
    }
    case "delete-link":
      return [`link delete dev ${action.name}`];
    case "set-link-up":
      return [`link set dev ${action.name} up`];
    case "set-link-mac":
      return [`link set dev ${action.name} address ${action.mac}`];
    case "set-link-mtu":
      return [`link set dev ${action.name} mtu ${action.mtu}`];
    case "add-address":
      return [`address add ${action.address}/${action.prefix} dev ${action.device}`];
    case "delete-address":
      return [`address delete ${action.address}/${action.prefix} dev ${action.device}`];
    case "add-address6":
      return [`address add ${action.address}/${action.prefix} dev ${action.device} nodad`];
    case "delete-address6":
      return [`address delete ${action.address}/${action.prefix} dev ${action.device}`];
    case "put-neighbour6":
      return [`neighbour replace ${action.address} lladdr ${action.mac} dev ${action.device} nud permanent`];
    case "delete-neighbour6":
      return [`neighbour delete ${action.address} dev ${action.device}`];
    case "put-route6":
    case "put-route":
      return [`route replace ${routeText(action.route)}`];
    case "delete-route6":
    case "delete-route":
      return [`route delete ${action.destination} dev ${action.device} protocol ${ROUTE_PROTOCOL}`];
    default:
      return unreachable(action, "network action");
  }
}

function routeText(route: Omit<NetworkRoute | NetworkRoute6, "marked">): string {
  return [
    route.destination,
    route.via === null ? "" : `via ${viaText(route)}`,
    `dev ${route.device}`,
    `protocol ${ROUTE_PROTOCOL}`,
    route.source === null ? "" : `src ${route.source}`,
    route.mtu === null ? "" : `mtu ${route.mtu}`,
    route.onlink ? "onlink" : "",
  ]
    .filter((part) => part !== "")
    .join(" ");
}

/** A next hop of the other family is named with it (RTA_VIA). */
function viaText({ destination, via }: Pick<NetworkRoute | NetworkRoute6, "destination" | "via">): string {
  return via?.includes(":") === true && !destination.includes(":") ? `inet6 ${via}` : `${via}`;
}

/** Declared first, since deleting a table that is not there fails. */
function deleteTable(table: readonly string[]): string {
  return `table ${table.join(" ")}\ndelete table ${table.join(" ")}\n`;
}

function acceptRaKey(device: string): string {
  return `net/ipv6/conf/${device}/accept_ra`;
}

/** The engine keeps its rules of each family apart; one that does not look at IPv6 has no chain there. */
function filterOf(range: string): "iptables" | "ip6tables" {
  return range.includes(":") ? "ip6tables" : "iptables";
}

function allowRules(range: string): readonly (readonly string[])[] {
  return [
    [ENGINE_CHAIN, "-s", range, "-d", range, "-j", "ACCEPT"],
    [ENGINE_CHAIN, "-m", "connmark", "--mark", `${CHOSEN_MARK}/${CHOSEN_MARK}`, "-j", "ACCEPT"],
  ];
}
