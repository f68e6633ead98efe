import type { HostAddress } from "../../model/ip6.ts";

/** Packets that were refused, by who asked whom for what. */
export interface Refusal {
  readonly source: HostAddress;
  readonly destination: HostAddress;
  /** As the kernel names it: "tcp", "udp", "icmp", or a number. */
  readonly protocol: string;
  /** Without meaning for protocols other than TCP and UDP. */
  readonly port: number;
  readonly packets: number;
}

/** What our rules in the kernel counted since they were last replaced. */
export interface RuleCounters {
  /** Packets by name of the counter; empty while our tables are not there. */
  packets(): Promise<ReadonlyMap<string, number>>;
  /** Of the last hour, as far as they were kept. */
  refusals(): Promise<readonly Refusal[]>;
}
