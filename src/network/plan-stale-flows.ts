/**
 * A UDP "connection" is whatever the kernel remembers of one (conntrack), for as long as packets come. A client that goes
 * on asking would be sent to an endpoint that is gone for ever, or refused although an endpoint came: such memories are
 * ended, and the next packet is decided anew. TCP connections are left alone: they have an end of their own.
 */
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, parseCidr } from "../model/ip.ts";
import type { UdpFlow } from "../platform/ports/host-traffic.ts";
import type { Front } from "./plan-fronts.ts";

/** Flows whose destination is ours to answer and whose present answerer is none of those that should. */
export function planStaleFlows(want: {
  readonly fronts: readonly Front[];
  readonly flows: readonly UdpFlow[];
  readonly virtualRange: string;
  /** This host's addresses outside the container range. */
  readonly hostAddresses: ReadonlySet<Ipv4>;
}): readonly UdpFlow[] {
  const virtual = parseCidr(want.virtualRange);
  const udp = want.fronts.filter(({ protocol }) => protocol === "udp");
  const served = new Map(
    udp.map((front) => [
      place(front.address, front.port),
      new Set(front.backends.map(({ address, port }) => place(address, port))),
    ]),
  );
  return want.flows.filter((flow) => {
    const answerer = place(flow.answerFrom, flow.answerPort);
    if (cidrContains(virtual, flow.destination)) {
      return served.get(place(flow.destination, flow.port))?.has(answerer) !== true;
    }
    if (!want.hostAddresses.has(flow.destination)) return false;
    const backends = served.get(place(null, flow.port));
    if (backends === undefined) return false;
    if (backends.size > 0) return !backends.has(answerer);
    // Nothing is published there any more: a flow that the host answers itself is none of ours.
    return !want.hostAddresses.has(flow.answerFrom);
  });
}

function place(address: Ipv4 | null, port: number): string {
  return `${address ?? "host"}:${port}`;
}
