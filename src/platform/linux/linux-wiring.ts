import { readFile, stat } from "node:fs/promises";
import { z } from "zod";
import { AppError } from "../../model/error.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { isIpv6 } from "../../model/ip6.ts";
import type { RunResult, Runner } from "../ports/runner.ts";
import type { Wire, WireSpec, Wiring, WiringState } from "../ports/wiring.ts";
import { parseBatchOutput } from "./parse-ip-output.ts";

/** In front of the alias of each device of ours; behind it the namespace of its far end. */
const MARK = "apollo:";
/** The far end is the engine's to place. */
const LOOSE = "loose";
/**
 * Exposed addresses lie on the loopback device: local on every interface, and nobody tidies them up with the bridge. Only IPv4
 * ones can have a label.
 */
const EXPOSED_DEVICE = "lo";
const EXPOSED_LABEL = "lo:apollo";
const LOOPBACK6 = "::1";
const MULTICAST = "224.0.0.0/4";
const MTU_DEFAULT = 1500;
/** Numbers of iproute2's exit code when the kernel refused. */
const REFUSED = [0, 1, 2];

const linkShape = z.array(
  z.object({
    ifindex: z.number().optional(),
    ifname: z.string().optional(),
    ifalias: z.string().optional(),
    master: z.string().optional(),
    mtu: z.number().optional(),
    flags: z.array(z.string()).optional(),
    link_netnsid: z.number().optional(),
    addr_info: z
      .array(
        z.object({
          local: z.string().optional(),
          prefixlen: z.number().optional(),
          label: z.string().optional(),
        }),
      )
      .optional(),
  }),
);
type Link = z.infer<typeof linkShape>[number];

/** By iproute2 and util-linux, in the network namespace that `runner` works in. */
export class LinuxWiring implements Wiring {
  readonly #runner: Runner;

  constructor(options: { readonly runner: Runner }) {
    this.#runner = options.runner;
  }

  async observe(): Promise<WiringState> {
    // One process for all: this is looked at again and again, also on a host where nothing happens. Addresses first: behind a
    // look at links, ip leaves them out.
    const looks = [`address show dev ${EXPOSED_DEVICE}`, "link show type veth", "link show type bridge"];
    const { stdout } = await this.#runner.run(["ip", "-j", "-d", "-batch", "-"], { stdin: `${looks.join("\n")}\n` });
    const [exposed = [], veths = [], bridges = []] = parseBatchOutput(stdout).map((list) => linkShape.parse(list));
    const addresses = exposed.flatMap(({ addr_info: found }) => found ?? []);
    return {
      wires: veths.flatMap((link) => readWire(link) ?? []),
      bridges: bridges.flatMap(({ ifname }) => ifname ?? []),
      exposed: addresses.flatMap(({ local, label }) =>
        label === EXPOSED_LABEL && local !== undefined && isIpv4(local) ? [local] : [],
      ),
      local6: addresses.flatMap(({ local, prefixlen }) =>
        prefixlen === 128 && local !== undefined && isIpv6(local) && local !== LOOPBACK6 ? [local] : [],
      ),
    };
  }

  async namespaceAt(path: string): Promise<string | null> {
    try {
      const { dev, ino } = await stat(path);
      return `${dev}-${ino}`;
    } catch {
      return null;
    }
  }

  async processStart(pid: number): Promise<string | null> {
    try {
      const text = await readFile(`/proc/${pid}/stat`, "utf8");
      // The program's name before it may hold spaces and brackets; field 22 is the 20th behind it.
      return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? null;
    } catch {
      return null;
    }
  }

  async connect(wire: WireSpec): Promise<void> {
    const { device, bridge, namespacePath: path, end } = wire;
    const namespace = await this.namespaceAt(path);
    if (namespace === null) {
      throw new AppError("not-found", `Cannot attach ${path}: there is no network namespace`, { details: { path } });
    }
    const mtu = await this.#mtuOf(bridge);
    const added = await this.#runner.run(
      ["ip", "link", "add", device, "mtu", String(mtu), "type", "veth"].concat([
        "peer",
        "name",
        end.name,
        "mtu",
        String(mtu),
        "address",
        end.mac,
        "netns",
        path,
      ]),
      { okCodes: REFUSED },
    );
    if (added.code !== 0) throw addFailure(added, wire);
    try {
      await this.#onBridge(device, bridge, namespace);
      const lines = renderEnd(end, await this.#wantsDefault(path, end, "-4"));
      if ((end.six ?? null) !== null) {
        await this.#inside(path, ["sysctl", "-q", "-w", `net/ipv6/conf/${end.name}/disable_ipv6=0`]);
        lines.push(...renderEnd6(end, await this.#wantsDefault(path, end, "-6")));
      }
      await this.#inside(path, ["ip", "-batch", "-"], `${lines.join("\n")}\n`);
    } catch (error) {
      await this.disconnect(device);
      throw error;
    }
  }

  async connectLoose(wire: Parameters<Wiring["connectLoose"]>[0]): Promise<void> {
    const { device, far, bridge, mac } = wire;
    const mtu = String(await this.#mtuOf(bridge));
    const peer = ["peer", "name", far, "mtu", mtu, "address", mac];
    const argv = ["ip", "link", "add", device, "mtu", mtu, "type", "veth", ...peer];
    const added = await this.#runner.run(argv, { okCodes: REFUSED });
    if (added.code !== 0) {
      const code = added.stderr.includes("File exists") ? "conflict" : "unavailable";
      throw new AppError(code, `Cannot make ${device}: ${added.stderr.trim()}`);
    }
    try {
      await this.#onBridge(device, bridge, LOOSE);
    } catch (error) {
      await this.disconnect(device);
      throw error;
    }
  }

  async mend(wire: { readonly device: string; readonly bridge: string }): Promise<void> {
    await this.#runner.run(["ip", "link", "set", "dev", wire.device, "master", wire.bridge, "up"]);
  }

  async disconnect(device: string): Promise<void> {
    const { code, stderr } = await this.#runner.run(["ip", "link", "delete", "dev", device], { okCodes: REFUSED });
    if (code !== 0 && !stderr.includes("Cannot find device")) {
      throw new AppError("unavailable", `Cannot remove ${device}: ${stderr.trim()}`);
    }
  }

  async expose(address: HostAddress): Promise<void> {
    const label = isIpv4(address) ? ["label", EXPOSED_LABEL] : [];
    await this.#runner.run(["ip", "address", "replace", alone(address), "dev", EXPOSED_DEVICE, ...label]);
  }

  async hide(address: HostAddress): Promise<void> {
    const argv = ["ip", "address", "delete", alone(address), "dev", EXPOSED_DEVICE];
    const { code, stderr } = await this.#runner.run(argv, { okCodes: REFUSED });
    // Newer kernels say the latter.
    if (code !== 0 && !/cannot assign requested address|address not found/i.test(stderr)) {
      throw new AppError("unavailable", `Cannot take ${address} off this host: ${stderr.trim()}`);
    }
  }

  async inspect(path: string): ReturnType<Wiring["inspect"]> {
    const links = parseLinks(await this.#inside(path, ["ip", "-j", "address", "show"]));
    return links.flatMap(({ ifname, addr_info: addresses = [] }) =>
      ifname === undefined
        ? []
        : [{ name: ifname, addresses: addresses.map(({ local, prefixlen }) => `${local}/${prefixlen}`) }],
    );
  }

  /** The alias first: a device without our mark would be left behind by whoever cleans up. */
  async #onBridge(device: string, bridge: string, namespace: string): Promise<void> {
    const stdin = `link set dev ${device} alias ${MARK}${namespace}\nlink set dev ${device} master ${bridge} up\n`;
    await this.#runner.run(["ip", "-batch", "-"], { stdin });
  }

  async #wantsDefault(path: string, { defaultRoute }: WireSpec["end"], family: "-4" | "-6"): Promise<boolean> {
    if (defaultRoute !== "if-none") return defaultRoute === "always";
    return (await this.#inside(path, ["ip", family, "route", "show", "default"])) === "";
  }

  async #mtuOf(bridge: string): Promise<number> {
    const [link] = await this.#links(["link", "show", "dev", bridge]);
    return link?.mtu ?? MTU_DEFAULT;
  }

  async #links(argv: readonly string[]): Promise<readonly Link[]> {
    return parseLinks((await this.#runner.run(["ip", "-j", "-d", ...argv])).stdout);
  }

  async #inside(path: string, argv: readonly string[], stdin?: string): Promise<string> {
    const options = stdin === undefined ? {} : { stdin };
    return (await this.#runner.run(["nsenter", `--net=${path}`, "--", ...argv], options)).stdout;
  }
}

function parseLinks(text: string): readonly Link[] {
  return text.trim() === "" ? [] : linkShape.parse(JSON.parse(text));
}

function readWire(link: Link): Wire | null {
  const { ifname, ifindex, ifalias, master, flags, link_netnsid: far } = link;
  if (ifname === undefined || ifindex === undefined || ifalias === undefined || !ifalias.startsWith(MARK)) return null;
  const mark = ifalias.slice(MARK.length);
  return {
    device: ifname,
    index: ifindex,
    bridge: master ?? null,
    // The kernel names another namespace's number only when the far end is in one.
    namespace: far === undefined ? null : mark,
    up: flags?.includes("UP") === true,
  };
}

/** The address with nothing else on its wire. */
function alone(address: HostAddress): string {
  return `${address}/${isIpv4(address) ? 32 : 128}`;
}

/** Lines for `ip -batch` inside. Values are names and addresses that were parsed before, never free text with spaces. */
function renderEnd(end: WireSpec["end"], defaultRoute: boolean): string[] {
  const { name, address, prefix, gateway } = end;
  return [
    "link set dev lo up",
    `address add ${address}/${prefix} dev ${name}`,
    `link set dev ${name} up`,
    ...(end.multicast ? [`route replace ${MULTICAST} dev ${name}`] : []),
    ...(defaultRoute ? [`route replace default via ${gateway} dev ${name}`] : []),
    ...end.routes
      .filter(({ destination }) => !isOf6(destination))
      .map(({ destination, via }) => `route replace ${destination} via ${via ?? gateway} dev ${name}`),
  ];
}

/** Without waiting for others to say that they have the address: nobody else is given it. */
function renderEnd6({ name, six = null, routes }: WireSpec["end"], defaultRoute: boolean): string[] {
  if (six === null) return [];
  const { address, prefix, gateway, reach } = six;
  const lines = [`address add ${address}/${prefix} dev ${name} nodad`];
  if (gateway !== null && prefix === 128) lines.push(`route replace ${gateway}/128 dev ${name}`);
  const wanted = [
    { destination: reach, via: null },
    { destination: defaultRoute ? "default" : null, via: null },
    ...routes.filter(({ destination }) => isOf6(destination)),
  ];
  for (const { destination, via } of wanted) {
    const hop = via ?? gateway;
    if (destination !== null && hop !== null) lines.push(`route replace ${destination} via ${hop} dev ${name}`);
  }
  return lines;
}

function isOf6(destination: string): boolean {
  return destination.includes(":");
}

function addFailure({ stderr }: RunResult, { device, end, namespacePath }: WireSpec): AppError {
  const said = stderr.trim();
  if (said.includes("File exists")) {
    return new AppError("conflict", `Cannot attach ${namespacePath}: it has an interface "${end.name}" already`, {
      details: { device, path: namespacePath },
    });
  }
  return new AppError("unavailable", `Cannot attach ${namespacePath}: ${said}`, { details: { device } });
}
