import { networkInterfaces } from "node:os";
import { AppError } from "../model/error.ts";
import { isIpv4, parseIpv4 } from "../model/ip.ts";
import { type HostAddress, parseHostAddress, parseIpv6 } from "../model/ip6.ts";
import { BRIDGE, hostRanges, NETWORK_SYSCTLS, TUNNEL } from "../network/plan-network.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";

/** An address that is nobody's (RFC 5737): the way to it is the default route's. */
const ELSEWHERE = parseIpv4("192.0.2.1");
/** The same of IPv6 (RFC 3849): asked where IPv4 leads nowhere. */
const ELSEWHERE6 = parseIpv6("2001:db8::1");
const LOOPBACK6 = parseIpv6("::1");
/** Devices that containers are attached to are not how others reach this host. */
const CONTAINER_DEVICE = /^(lo|docker|br-|veth|apollo|virbr|cni)/;

export interface HostSurroundings {
  /** Address that other hosts reach this one by; null when there is none. */
  readonly address: HostAddress | null;
  /** Looks for it anew. */
  readonly findAddress: () => Promise<HostAddress | null>;
  /** Ranges of the machine's own routes. */
  readonly hostRanges: readonly string[];
}

/** What this machine's own network looks like before we touch it. */
export async function observeSurroundings(serverUrl: string | undefined): Promise<HostSurroundings> {
  const network = new LinuxHostNetwork({ runner: new ProcessRunner(), clock: systemClock });
  const observed = await network.observe({ sysctls: NETWORK_SYSCTLS, range: "0.0.0.0/0", tunnelDevice: TUNNEL });
  const findAddress = (): Promise<HostAddress | null> => ownAddress(network, serverUrl);
  return { address: await findAddress(), findAddress, hostRanges: hostRanges(observed) };
}

/** The address that speaks to the server, else that of the default route, else the first of a device of the machine's own. */
async function ownAddress(network: LinuxHostNetwork, serverUrl: string | undefined): Promise<HostAddress | null> {
  const candidates = [...addressIn(serverUrl ?? ""), ELSEWHERE, ELSEWHERE6];
  for (const candidate of candidates) {
    const path = await network.pathTo(candidate);
    if (path !== null && path.device !== BRIDGE && path.device !== "lo") return path.source;
  }
  const own = Object.entries(networkInterfaces()).filter(([device]) => !CONTAINER_DEVICE.test(device));
  const all = own.flatMap(([, each]) => each ?? []).filter((each) => !each.internal);
  const found =
    all.find((each) => each.family === "IPv4") ??
    all.find((each) => each.family === "IPv6" && !/^fe[89ab]/i.test(each.address));
  return found === undefined ? null : parseHostAddress(found.address);
}

/** The server's address, when its URL has one and it is not this machine. */
function addressIn(serverUrl: string): readonly HostAddress[] {
  const host = /^(?:https:\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::\d|\/|$)/.exec(serverUrl);
  const text = host?.[1] ?? host?.[2] ?? "";
  if (isIpv4(text)) return text.startsWith("127.") ? [] : [text];
  if (host?.[1] === undefined) return [];
  try {
    const address = parseHostAddress(text);
    return address === LOOPBACK6 ? [] : [address];
  } catch (error) {
    // Whoever connects there says what is wrong with it.
    if (error instanceof AppError) return [];
    throw error;
  }
}
