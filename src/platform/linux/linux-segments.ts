import { z } from "zod";
import { AppError, unreachable } from "../../model/error.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { NetworkLink } from "../ports/host-network.ts";
import type { Runner } from "../ports/runner.ts";
import { isSegmentDevice } from "../ports/segment-network.ts";
import type { SegmentAction, SegmentNetwork, SegmentState } from "../ports/segment-network.ts";
import { parseAddresses6 } from "./parse-ip6-output.ts";
import { parseBatchOutput, parseLinks, parseRoutes } from "./parse-ip-output.ts";

const MTU_DEFAULT = 1500;
const ENGINE_CHAIN = "DOCKER-USER";
/** `+`: every device whose name begins so. */
const ALL_BRIDGES = "apl+";
/** In a VXLAN device's table: where frames without a known destination go. */
const FLOOD_MAC = "00:00:00:00:00:00";
/** Numbers of iproute2's exit code when the kernel refused. */
const REFUSED = [0, 1, 2];

const masterShape = z.object({ ifname: z.string(), master: z.string().optional() });
const forwardingShape = z.object({ mac: z.string(), dst: z.string().optional() });

/** By iproute2, bridge and iptables, in the network namespace that `runner` works in. */
export class LinuxSegments implements SegmentNetwork {
  readonly #runner: Runner;

  constructor(options: { readonly runner: Runner }) {
    this.#runner = options.runner;
  }

  async observe(): Promise<SegmentState> {
    const stdin = "address show\nroute show table main\n";
    const { stdout } = await this.#runner.run(["ip", "-j", "-d", "-batch", "-"], { stdin });
    const [entries = [], routes = []] = parseBatchOutput(stdout);
    const links = parseLinks(entries);
    const masters = new Map(
      entries.flatMap((entry) => {
        const { success, data } = masterShape.safeParse(entry);
        return success && data.master !== undefined ? [[data.ifname, data.master] as const] : [];
      }),
    );
    const six = parseAddresses6(entries);
    const ours = links.filter(({ name }) => isSegmentDevice(name));
    const tunnels = ours.filter(({ kind }) => kind === "vxlan");
    const table = parseRoutes(routes)
      .filter(({ marked }) => !marked)
      .map(({ destination, device }) => ({ destination, device }));
    const uplink = table.find(({ destination }) => destination === "0.0.0.0/0")?.device;
    return {
      bridges: ours
        .filter(({ kind }) => kind === "bridge")
        .map(({ name, up, addresses }) => ({
          name,
          up,
          addresses,
          addresses6: six.flatMap(({ device, address, prefix }) => (device === name ? [{ address, prefix }] : [])),
        })),
      tunnels: await Promise.all(tunnels.map((link) => this.#tunnel(link, masters.get(link.name) ?? null))),
      routes: table,
      uplinkMtu: links.find(({ name }) => name === uplink)?.mtu ?? MTU_DEFAULT,
      allowed: await this.#isAllowed(),
    };
  }

  async apply(action: SegmentAction): Promise<void> {
    switch (action.kind) {
      case "allow-bridges":
        return this.#allow();
      case "forbid-bridges":
        for (const rule of RULES)
          if (await this.#hasRule(rule)) await this.#runner.run(["iptables", "-w", "-D", ...rule]);
        return;
      case "delete-device": {
        const argv = ["ip", "link", "delete", "dev", action.name];
        const { code, stderr } = await this.#runner.run(argv, { okCodes: REFUSED });
        if (code === 0 || stderr.includes("Cannot find device")) return;
        throw new AppError("unavailable", `Cannot remove ${action.name}: ${stderr.trim()}`);
      }
      case "add-flood":
      case "delete-flood": {
        const verb = action.kind === "add-flood" ? "append" : "del";
        const argv = ["bridge", "fdb", verb, FLOOD_MAC, "dev", action.name, "dst", action.host];
        await this.#runner.run(verb === "append" ? [...argv, "self", "permanent"] : [...argv, "self"]);
        return;
      }
      case "add-bridge":
        return this.#addBridge(action);
      case "put-address":
        await this.#runner.run(["sysctl", "-q", "-w", ...sysctls(action.name, true)]);
        await this.#runner.run(["ip", "address", "replace", `${action.address}/${action.prefix}`, "dev", action.name]);
        return;
      case "put-address6":
        await this.#runner.run(["sysctl", "-q", "-w", ...sysctls6(action.name)]);
        await this.#runner.run([
          "ip",
          "address",
          "replace",
          `${action.address}/${action.prefix}`,
          "dev",
          action.name,
          "nodad",
        ]);
        return;
      default:
        await this.#runner.run(["ip", "-batch", "-"], { stdin: `${commands(action).join("\n")}\n` });
    }
  }

  async #tunnel(link: NetworkLink, bridge: string | null): Promise<SegmentState["tunnels"][number]> {
    const { name, mtu, up, vxlan } = link;
    const { stdout } = await this.#runner.run(["bridge", "-j", "fdb", "show", "dev", name]);
    const entries = z.array(forwardingShape.catch({ mac: "" })).parse(stdout.trim() === "" ? [] : JSON.parse(stdout));
    const flood = entries.flatMap(({ mac, dst }): Ipv4[] =>
      mac === FLOOD_MAC && dst !== undefined && isIpv4(dst) ? [dst] : [],
    );
    const local = vxlan?.local ?? "";
    return { name, vni: vxlan?.vni ?? 0, local: isIpv4(local) ? local : null, bridge, mtu, up, flood };
  }

  async #addBridge({ name, mac, mtu, address }: SegmentAction & { kind: "add-bridge" }): Promise<void> {
    const lines = [
      // No querier is there: with snooping, members that have said nothing for a while would be left out.
      `link add name ${name} mtu ${mtu} address ${mac} type bridge mcast_snooping 0`,
      `link set dev ${name} addrgenmode none`,
      ...(address === null ? [] : [`address add ${address.address}/${address.prefix} dev ${name}`]),
    ];
    await this.#runner.run(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
    try {
      await this.#runner.run(["sysctl", "-q", "-w", ...sysctls(name, address !== null)]);
      // A kernel without IPv6 does not have the key.
      if (address === null)
        await this.#runner.run(["sysctl", "-q", "-e", "-w", `net/ipv6/conf/${name}/disable_ipv6=1`]);
      await this.#runner.run(["ip", "link", "set", "dev", name, "up"]);
    } catch (error) {
      await this.apply({ kind: "delete-device", name });
      throw error;
    }
  }

  /** Without the engine's chain it is the policy that decides: Docker leaves DROP behind when it goes. */
  async #isAllowed(): Promise<boolean> {
    const there = await Promise.all(RULES.map((rule) => this.#hasRule(rule)));
    if (there.every((each) => each)) return true;
    if (await this.#hasChain()) return false;
    const { code, stdout } = await this.#runner.run(["iptables", "-w", "-S", "FORWARD"], { okCodes: REFUSED });
    return code !== 0 || stdout.startsWith("-P FORWARD ACCEPT");
  }

  async #allow(): Promise<void> {
    if (!(await this.#hasChain())) {
      throw new AppError("unavailable", `Cannot open the engine's filter: chain ${ENGINE_CHAIN} is not there`, {
        hint: "Start the container engine: systemctl start docker",
      });
    }
    for (const rule of RULES)
      if (!(await this.#hasRule(rule))) await this.#runner.run(["iptables", "-w", "-I", ...rule]);
  }

  async #hasChain(): Promise<boolean> {
    return (await this.#runner.run(["iptables", "-w", "-S", ENGINE_CHAIN], { okCodes: REFUSED })).code === 0;
  }

  async #hasRule(rule: readonly string[]): Promise<boolean> {
    return (await this.#runner.run(["iptables", "-w", "-C", ...rule], { okCodes: REFUSED })).code === 0;
  }
}

const RULES: readonly (readonly string[])[] = ["-i", "-o"].map((way) => [
  ENGINE_CHAIN,
  way,
  ALL_BRIDGES,
  "-j",
  "ACCEPT",
]);

/** On a segment the host takes no part: it answers for none of its addresses there, and carries nothing out of it. */
function sysctls(name: string, routed: boolean): readonly string[] {
  const of = `net/ipv4/conf/${name}`;
  // Proxy answers wait up to 0.8 s by default.
  const proxy = routed ? [`${of}/proxy_arp=1`, `net/ipv4/neigh/${name}/proxy_delay=0`] : [];
  return [`${of}/arp_ignore=${routed ? 0 : 8}`, `${of}/forwarding=${routed ? 1 : 0}`, ...proxy];
}

/** Nobody but the host has its addresses, and no container tells it where to send its packets. */
function sysctls6(name: string): readonly string[] {
  const of = `net/ipv6/conf/${name}`;
  return [`${of}/disable_ipv6=0`, `${of}/accept_ra=0`, `${of}/accept_dad=0`];
}

type LinkAction = Extract<SegmentAction, { kind: "set-up" | "add-tunnel" | "set-mtu" | "set-master" }>;

/** Lines for `ip -batch`. Values are names and addresses that were parsed before, never free text with spaces. */
function commands(action: LinkAction): readonly string[] {
  const { kind, name } = action;
  switch (kind) {
    case "set-up":
      return [`link set dev ${name} up`];
    case "set-mtu":
      return [`link set dev ${name} mtu ${action.mtu}`];
    case "set-master":
      return [`link set dev ${name} master ${action.bridge} up`];
    case "add-tunnel": {
      const { vni, port, local, bridge, mtu } = action;
      return [
        `link add name ${name} mtu ${mtu} type vxlan id ${vni} dstport ${port} local ${local} learning`,
        `link set dev ${name} addrgenmode none`,
        `link set dev ${name} master ${bridge} up`,
      ];
    }
    default:
      return unreachable(kind, "segment action");
  }
}
