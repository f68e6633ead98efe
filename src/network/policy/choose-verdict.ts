import type { Ipv4 } from "../../model/ip.ts";
import { ipv4ToNumber } from "../../model/ip.ts";
import type { OpenPorts, PolicyGroup, PolicyPlan } from "./plan-policy.ts";
import { findSpan } from "./plan-policy.ts";

/** The first packet of a connection. Protocols other than TCP and UDP have no port. */
export interface Flow {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: "tcp" | "udp" | "other";
  readonly port: number;
}

export interface Verdict {
  readonly allowed: boolean;
  /** What closes the destination; null when nothing does. */
  readonly group: PolicyGroup | null;
}

/** What the kernel does with a packet under the rendered plan, see `renderPolicy`. */
export function chooseVerdict(plan: PolicyPlan, flow: Flow): Verdict {
  const group = plan.groups.find(({ addresses }) => addresses.includes(flow.destination)) ?? null;
  if (group === null) return { allowed: true, group };
  const source = findSpan(group.sources, ipv4ToNumber(flow.source));
  if (source === null) return { allowed: false, group };
  return { allowed: opensPort(source.ports, flow), group };
}

export function opensPort(ports: OpenPorts, { protocol, port }: Pick<Flow, "protocol" | "port">): boolean {
  return ports === "all" || ports.some((each) => each.protocol === protocol && each.from <= port && port <= each.to);
}
