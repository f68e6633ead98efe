import type { Ipv4 } from "../../model/ip.ts";
import type { HostTraffic, TrafficState, UdpFlow } from "../ports/host-traffic.ts";
import type { Runner } from "../ports/runner.ts";
import {
  parseListeningPorts,
  parseOwnAddresses,
  parsePortsOf,
  parsePortsWithoutReturn,
  parseUdpFlows,
} from "./parse-traffic.ts";

const SOCKET_FILES = [
  ["/proc/net/tcp", "tcp"],
  ["/proc/net/tcp6", "tcp"],
  ["/proc/net/udp", "udp"],
  ["/proc/net/udp6", "udp"],
] as const;
const BRIDGE_SWITCH = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/** conntrack says that there was nothing to delete with this. */
const NOTHING_FOUND = 1;

/** The network namespace that `runner` works in, by /proc, conntrack and iproute2. */
export class LinuxHostTraffic implements HostTraffic {
  readonly #runner: Runner;
  readonly #isHidden: (address: string) => boolean;

  /** `isHidden`: own addresses on which a listener is in nobody's way, such as the gateway's, where our DNS is. */
  constructor(options: { readonly runner: Runner; readonly isHidden: (address: string) => boolean }) {
    this.#runner = options.runner;
    this.#isHidden = options.isHidden;
  }

  async observe(): Promise<TrafficState> {
    const files = [BRIDGE_SWITCH, ...SOCKET_FILES.map(([path]) => path)];
    // Exit code 2: a file is not there, as without IPv6 or without br_netfilter.
    const { stdout } = await this.#runner.run(["grep", "-sH", "", ...files], { okCodes: [0, 1, 2] });
    const lines = stdout.split("\n");
    const textOf = (path: string): string =>
      lines.flatMap((line) => (line.startsWith(`${path}:`) ? [line.slice(path.length + 1)] : [])).join("\n");
    const busy = SOCKET_FILES.flatMap(([path, protocol]) =>
      parseListeningPorts(textOf(path), protocol, this.#isHidden),
    );
    return { bridgeSeen: textOf(BRIDGE_SWITCH).trim() === "1", busyPorts: new Set(busy) };
  }

  async listUdpFlows(): Promise<{ readonly flows: readonly UdpFlow[]; readonly addresses: ReadonlySet<Ipv4> }> {
    const [flows, addresses] = await Promise.all([
      this.#runner.run(["conntrack", "-L", "-f", "ipv4", "-p", "udp"]),
      this.#runner.run(["ip", "-j", "-4", "address", "show"]),
    ]);
    return { flows: parseUdpFlows(flows.stdout), addresses: parseOwnAddresses(JSON.parse(addresses.stdout)) };
  }

  async endUdpFlows({ destination, port, answerFrom, answerPort }: UdpFlow): Promise<void> {
    const sent = ["-d", destination, "--dport", String(port)];
    const answered = ["-r", answerFrom, "--reply-port-src", String(answerPort)];
    const options = { okCodes: [0, NOTHING_FOUND] };
    await this.#runner.run(["conntrack", "-D", "-f", "ipv4", "-p", "udp", ...sent, ...answered], options);
  }

  async portsWithoutReturn(of: Parameters<HostTraffic["portsWithoutReturn"]>[0]): Promise<readonly string[]> {
    if (of.ports.length === 0 && of.addresses.length === 0) return [];
    const json = async (argv: readonly string[]): Promise<unknown> => {
      const { stdout } = await this.#runner.run(argv);
      return JSON.parse(stdout.trim() === "" ? "[]" : stdout) as unknown;
    };
    const [links, neighbours, forwarding] = await Promise.all([
      json(["bridge", "-j", "-d", "link", "show"]),
      of.addresses.length === 0 ? [] : json(["ip", "-j", "-4", "neighbour", "show"]),
      of.addresses.length === 0 ? [] : json(["bridge", "-j", "fdb", "show"]),
    ]);
    const without = parsePortsWithoutReturn(links);
    const heard = parsePortsOf(neighbours, forwarding);
    const ports = new Set([...of.ports, ...of.addresses.flatMap((address) => heard.get(address) ?? [])]);
    return [...ports].filter((port) => without.has(port)).toSorted();
  }

  async allowReturn(port: string): Promise<void> {
    await this.#runner.run(["bridge", "link", "set", "dev", port, "hairpin", "on"]);
  }
}
