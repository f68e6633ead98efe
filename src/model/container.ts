import type { Ipv4 } from "./ip.ts";
import type { Ipv6 } from "./ip6.ts";

/** A container as the engine reports it; ours and others' alike. */
export interface Container {
  readonly id: string;
  /** Without the engine's leading slash. */
  readonly name: string;
  readonly image: string;
  readonly state: "created" | "running" | "paused" | "restarting" | "exited" | "dead";
  readonly exitCode: number | null;
  readonly startedAtMs: number | null;
  readonly finishedAtMs: number | null;
  readonly oomKilled: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Addresses by engine network name; a stopped container keeps a fixed address under `fixedAddress`. */
  readonly addresses: Readonly<Record<string, Ipv4>>;
  /** IPv6 addresses by engine network name, while it runs; missing: none. */
  readonly addresses6?: Readonly<Record<string, Ipv6>>;
  /** Further names by engine network name; missing: none. */
  readonly aliases?: Readonly<Record<string, readonly string[]>>;
  readonly fixedAddress: Ipv4 | null;
  /** The same for IPv6; missing: none. */
  readonly fixedAddress6?: Ipv6;
  /** MAC of its interface by engine network name, while it runs; missing: not known. */
  readonly macs?: Readonly<Record<string, string>>;
  readonly exposedPorts: readonly { readonly port: number; readonly protocol: "tcp" | "udp" }[];
  readonly pid: number | null;
  /** By the image's HEALTHCHECK; missing: it has none. */
  readonly health?: "starting" | "healthy" | "unhealthy";
  /** Whether the engine starts it again after a crash, its own restart or the host's; missing: not known. */
  readonly restart?: "no" | "unless-stopped" | "on-failure" | "always";
  /** False: its programs cannot change routes and filters of its network namespace; missing: not known. */
  readonly netAdmin?: boolean;
  /** Id of the container whose network namespace it shares; missing: it has one of its own. */
  readonly networkOf?: string;
}

/** Labels on everything the agent creates; what does not carry them is never touched. */
export const LABEL_INSTANCE = "apollo.instance";
export const LABEL_APP = "apollo.app";
export const LABEL_VERSION = "apollo.version";
