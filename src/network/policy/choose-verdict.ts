import type { Ipv4 } from "../../model/ip.ts";
import { ipv4ToNumber } from "../../model/ip.ts";
import type { PolicyGroup, PolicyPlan } from "./plan-policy.ts";
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
  if (source.ports === "all") return { allowed: true, group };
  const { protocol, port } = flow;
  const allowed = source.ports.some((range) => range.protocol === protocol && range.from <= port && port <= range.to);
  return { allowed, group };
}
