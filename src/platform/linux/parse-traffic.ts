/** Readers of /proc/net and of what conntrack prints. */
import { z } from "zod";
import { isIpv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { formatIpv6, isIpv6 } from "../../model/ip6.ts";
import type { UdpFlow } from "../ports/host-traffic.ts";

const LISTEN = "0A";
/** A UDP socket that is not connected to anybody. */
const UNCONNECTED = "07";
const WORD_HEX = 8;
const FLOW =
  /^udp .*?\bdst=([0-9a-f.:]{2,45}) sport=\d+ dport=(\d+) .*?\bsrc=([0-9a-f.:]{2,45}) dst=[0-9a-f.:]{2,45} sport=(\d+) dport=\d+/;

/**
 * Ports of the listening sockets in a /proc/net/{tcp,tcp6,udp,udp6} text that others than this host itself reach: one
 * bound to loopback is not, nor one on an address that `isHidden`.
 */
export function parseListeningPorts(
  text: string,
  protocol: "tcp" | "udp",
  isHidden: (address: string) => boolean,
): readonly string[] {
  const state = protocol === "tcp" ? LISTEN : UNCONNECTED;
  return text.split("\n").flatMap((line) => {
    const [, local = "", , found] = line.trim().split(/\s+/);
    const [, address = "", port = ""] = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local) ?? [];
    if (address === "" || found !== state) return [];
    const shown = formatAddress(address);
    return isLoopback(shown) || isHidden(shown) ? [] : [`${Number.parseInt(port, 16)}/${protocol}`];
  });
}

/** Words of four bytes in the machine's order: the last byte of each comes first on the machines that we run on. */
function formatAddress(hex: string): string {
  const words = Array.from({ length: hex.length / WORD_HEX }, (_, at) => hex.slice(at * WORD_HEX, (at + 1) * WORD_HEX));
  const bytes = words.flatMap((word) => [6, 4, 2, 0].map((at) => Number.parseInt(word.slice(at, at + 2), 16)));
  const mapped =
    bytes.length === 16 && bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  if (bytes.length === 4 || mapped) return bytes.slice(-4).join(".");
  return formatIpv6(bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n));
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

/** The flows of `conntrack -L -p udp`, alike ones once: a line has the client's direction first, then the answers'. */
export function parseUdpFlows(stdout: string): readonly UdpFlow[] {
  const flows = new Map<string, UdpFlow>();
  for (const line of stdout.split("\n")) {
    const match = FLOW.exec(line);
    if (match === null) continue;
    const [, destination = "", port = "", answerFrom = "", answerPort = ""] = match;
    if (!isAddress(destination) || !isAddress(answerFrom)) continue;
    const flow = { destination, port: Number(port), answerFrom, answerPort: Number(answerPort) };
    flows.set(`${destination} ${port} ${answerFrom} ${answerPort}`, flow);
  }
  return [...flows.values()];
}

const portShape = z.object({ ifname: z.string(), hairpin: z.boolean() });
const neighbourShape = z.object({ dst: z.string(), lladdr: z.string() });
const forwardingShape = z.object({ mac: z.string(), ifname: z.string() });

/** Names of the bridge ports in `bridge -j -d link show` whose hairpin flag is off. */
export function parsePortsWithoutReturn(value: unknown): ReadonlySet<string> {
  return new Set(entries(portShape, value).flatMap(({ ifname, hairpin }) => (hairpin ? [] : [ifname])));
}

/** Bridge ports by the addresses behind them: `ip -j neighbour show` joined with `bridge -j fdb show`, by MAC. */
export function parsePortsOf(neighbours: unknown, forwarding: unknown): ReadonlyMap<string, string> {
  const ports = new Map(entries(forwardingShape, forwarding).map(({ mac, ifname }) => [mac, ifname]));
  return new Map(
    entries(neighbourShape, neighbours).flatMap(({ dst, lladdr }) => {
      const port = ports.get(lladdr);
      return port === undefined ? [] : [[dst, port] as const];
    }),
  );
}

/** What of a list has the fields; iproute2 prints entries without them, too. */
function entries<T>(shape: z.ZodType<T>, value: unknown): readonly T[] {
  return z
    .array(z.unknown())
    .catch([])
    .parse(value)
    .flatMap((entry) => {
      const result = shape.safeParse(entry);
      return result.success ? [result.data] : [];
    });
}

/** This host's addresses in `ip -j address show`. */
export function parseOwnAddresses(value: unknown): ReadonlySet<HostAddress> {
  const text = JSON.stringify(value);
  return new Set(
    [...text.matchAll(/"local":"([0-9a-f.:]+)"/g)].flatMap(([, address = ""]) => (isAddress(address) ? [address] : [])),
  );
}

function isAddress(text: string): text is HostAddress {
  return isIpv4(text) || isIpv6(text);
}
