import { isIpv4 } from "../../model/ip.ts";
import type { HostTraffic, TrafficState, UdpFlow, UdpFlows } from "../ports/host-traffic.ts";
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
const BRIDGE_SWITCH6 = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
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
    const files = [BRIDGE_SWITCH, BRIDGE_SWITCH6, ...SOCKET_FILES.map(([path]) => path)];
    // Exit code 2: a file is not there, as without IPv6 or without br_netfilter.
    const { stdout } = await this.#runner.run(["grep", "-sH", "", ...files], { okCodes: [0, 1, 2] });
    const lines = stdout.split("\n");
    const textOf = (path: string): string =>
      lines.flatMap((line) => (line.startsWith(`${path}:`) ? [line.slice(path.length + 1)] : [])).join("\n");
    const busy = SOCKET_FILES.flatMap(([path, protocol]) =>
      parseListeningPorts(textOf(path), protocol, this.#isHidden),
    );
    const isOn = (path: string): boolean => textOf(path).trim() === "1";
    return { bridgeSeen: isOn(BRIDGE_SWITCH), bridgeSeen6: isOn(BRIDGE_SWITCH6), busyPorts: new Set(busy) };
  }

  async listUdpFlows(families: readonly (4 | 6)[]): Promise<UdpFlows> {
    const [addresses, ...flows] = await Promise.all([
      this.#runner.run(["ip", "-j", "address", "show"]),
      ...families.map((family) => this.#runner.run(["conntrack", "-L", "-f", `ipv${family}`, "-p", "udp"])),
    ]);
    return {
      flows: flows.flatMap(({ stdout }) => parseUdpFlows(stdout)),
      addresses: parseOwnAddresses(JSON.parse(addresses.stdout)),
    };
  }

  async endUdpFlows({ destination, port, answerFrom, answerPort }: UdpFlow): Promise<void> {
    const sent = ["-d", destination, "--dport", String(port)];
    const answered = ["-r", answerFrom, "--reply-port-src", String(answerPort)];
    const options = { okCodes: [0, NOTHING_FOUND] };
    const family = isIpv4(destination) ? "ipv4" : "ipv6";
    await this.#runner.run(["conntrack", "-D", "-f", family, "-p", "udp", ...sent, ...answered], options);
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
