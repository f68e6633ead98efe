import { networkInterfaces } from "node:os";
import { isIpv4, type Ipv4, parseIpv4 } from "../model/ip.ts";
import { BRIDGE, hostRanges, NETWORK_SYSCTLS, TUNNEL } from "../network/plan-network.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";

/** An address that is nobody's (RFC 5737): the way to it is the default route's. */
const ELSEWHERE = parseIpv4("192.0.2.1");
/** Devices that containers are attached to are not how others reach this host. */
const CONTAINER_DEVICE = /^(lo|docker|br-|veth|apollo|virbr|cni)/;

export interface HostSurroundings {
  /** Address that other hosts reach this one by; null when there is none. */
  readonly address: Ipv4 | null;
  /** Looks for it anew. */
  readonly findAddress: () => Promise<Ipv4 | null>;
  /** Ranges of the machine's own routes. */
  readonly hostRanges: readonly string[];
}

/** What this machine's own network looks like before we touch it. */
export async function observeSurroundings(serverUrl: string | undefined): Promise<HostSurroundings> {
  const network = new LinuxHostNetwork({ runner: new ProcessRunner(), clock: systemClock });
  const observed = await network.observe({ sysctls: NETWORK_SYSCTLS, range: "0.0.0.0/0", tunnelDevice: TUNNEL });
  const findAddress = (): Promise<Ipv4 | null> => ownAddress(network, serverUrl);
  return { address: await findAddress(), findAddress, hostRanges: hostRanges(observed) };
}

/** The address that speaks to the server, else that of the default route, else the first of a device of the machine's own. */
async function ownAddress(network: LinuxHostNetwork, serverUrl: string | undefined): Promise<Ipv4 | null> {
  const server = /^(?:https:\/\/)?([0-9.]+)(?::|\/|$)/.exec(serverUrl ?? "")?.[1] ?? "";
  const candidates = [...(isIpv4(server) && !server.startsWith("127.") ? [server] : []), ELSEWHERE];
  for (const candidate of candidates) {
    const path = await network.pathTo(candidate);
    if (path !== null && path.device !== BRIDGE) return path.source;
  }
  const own = Object.entries(networkInterfaces()).filter(([device]) => !CONTAINER_DEVICE.test(device));
  const found = own.flatMap(([, each]) => each ?? []).find((each) => each.family === "IPv4" && !each.internal);
  return found === undefined ? null : parseIpv4(found.address);
}
