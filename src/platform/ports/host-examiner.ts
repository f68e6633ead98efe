import type { HostAddress } from "../../model/ip6.ts";

/** What of a machine decides whether it makes a good host; null stands for what could not be found out. */
export interface SeenMachine {
  /** By key with slashes; those that do not exist are left out. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Whether the kernel can do VXLAN. */
  readonly vxlan: boolean | null;
  /** Programs that the agent runs and this machine lacks. */
  readonly missingPrograms: readonly string[];
  readonly addresses: readonly HostAddress[];
  /** Ranges of the machine's own routes, CIDR texts. */
  readonly ranges: readonly string[];
  /** MTU of the way out. */
  readonly uplinkMtu: number | null;
  /** As `nft -j list ruleset` prints it. */
  readonly ruleset: string | null;
  readonly engine: {
    readonly version: string;
    readonly liveRestore: boolean | null;
    /** It keeps filter rules of its own, with a chain for those of others. */
    readonly filters: boolean | null;
  } | null;
  /** Of /etc/resolv.conf, in order. */
  readonly nameservers: readonly string[];
  readonly disk: { readonly freeMiB: number; readonly totalMiB: number } | null;
}

/** Looks at this machine without changing anything; what fails is null, never an error. */
export interface HostExaminer {
  examine(): Promise<SeenMachine>;
}

export interface ExchangePeer {
  readonly name: string;
  readonly address: HostAddress;
}

export interface Exchanged {
  /** Ports that could be listened on; of the others somebody else has the socket. */
  readonly opened: readonly number[];
  /** Who was heard on which port. */
  readonly heard: readonly { readonly from: string; readonly port: number }[];
}

/**
 * Sends a word to peers' ports, and listens on the same ports of this host, for as long as told: what comes shows what the
 * network lets through. Words of others than those who know `token` are not counted.
 */
export interface PortExchange {
  exchange(want: {
    readonly token: string;
    readonly self: string;
    readonly peers: readonly ExchangePeer[];
    readonly ports: readonly number[];
    readonly forMs: number;
  }): Promise<Exchanged>;
}
