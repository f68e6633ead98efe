/**
 * A UDP "connection" is whatever the kernel remembers of one (conntrack), for as long as packets come. A client that goes
 * on asking would be sent to an endpoint that is gone for ever, or refused although an endpoint came: such memories are
 * ended, and the next packet is decided anew. TCP connections are left alone: they have an end of their own.
 */
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { Cidr6, HostAddress } from "../model/ip6.ts";
import { cidr6Contains } from "../model/ip6.ts";
import type { UdpFlow } from "../platform/ports/host-traffic.ts";
import type { Family, Front } from "./plan-fronts.ts";

/** Flows whose destination is ours to answer and whose present answerer is none of those that should. */
export function planStaleFlows(want: {
  readonly fronts: readonly Front[];
  readonly flows: readonly UdpFlow[];
  readonly virtualRange: string;
  /** The same of IPv6; null or missing: those flows are left alone. */
  readonly virtual6?: Cidr6 | null;
  /** This host's addresses outside the container range. */
  readonly hostAddresses: ReadonlySet<HostAddress>;
}): readonly UdpFlow[] {
  const { virtual6 = null } = want;
  const virtual = parseCidr(want.virtualRange);
  const isVirtual = (address: HostAddress): boolean =>
    isIpv4(address) ? cidrContains(virtual, address) : virtual6 !== null && cidr6Contains(virtual6, address);
  const udp = want.fronts.filter(({ protocol }) => protocol === "udp");
  const served = new Map(
    udp.map((front) => [
      front.address === null ? hostPlace(front.family, front.port) : place(front.address, front.port),
      new Set(front.backends.map(({ address, port }) => place(address, port))),
    ]),
  );
  return want.flows.filter((flow) => {
    const answerer = place(flow.answerFrom, flow.answerPort);
    if (isVirtual(flow.destination)) {
      return served.get(place(flow.destination, flow.port))?.has(answerer) !== true;
    }
    if (!want.hostAddresses.has(flow.destination)) return false;
    const backends = served.get(hostPlace(isIpv4(flow.destination) ? 4 : 6, flow.port));
    if (backends === undefined) return false;
    if (backends.size > 0) return !backends.has(answerer);
    // Nothing is published there any more: a flow that the host answers itself is none of ours.
    return !want.hostAddresses.has(flow.answerFrom);
  });
}

function place(address: HostAddress, port: number): string {
  return `${address} ${port}`;
}

function hostPlace(family: Family, port: number): string {
  return `host${family} ${port}`;
}
