import type { Ipv4 } from "../../model/ip.ts";
import type { HostAddress, Ipv6 } from "../../model/ip6.ts";

/** What a wire's far end gets for IPv6. */
export interface WireEnd6 {
  readonly address: Ipv6;
  /** Of the address on the wire; the gateway is there in any case. */
  readonly prefix: number;
  /** Null: no route leads anywhere by this wire. */
  readonly gateway: Ipv6 | null;
  /** What is reached by the gateway, default route or not (CIDR text). */
  readonly reach: string | null;
}

/** What a wire's far end gets inside its network namespace. */
export interface WireEnd {
  /** Name of the interface in there. */
  readonly name: string;
  readonly mac: string;
  readonly address: Ipv4;
  readonly prefix: number;
  /** Next hop of the routes below. */
  readonly gateway: Ipv4;
  /** Null or missing: no IPv6. Turned on for this interface, as engines turn it off where they give none themselves. */
  readonly six?: WireEnd6 | null;
  /** `if-none`: only where the namespace has no default route yet, of each family by itself. */
  readonly defaultRoute: "if-none" | "always" | "never";
  /** 224.0.0.0/4 goes this way. */
  readonly multicast: boolean;
  /** Further destinations by the gateway (or by `via`), CIDR texts. */
  readonly routes: readonly { readonly destination: string; readonly via: HostAddress | null }[];
}

/** A veth pair between a bridge of ours and a network namespace. */
export interface WireSpec {
  /** Name of the host's end; one pair a name. */
  readonly device: string;
  readonly bridge: string;
  /** Path of the namespace: `/proc/PID/ns/net` or a file that it is mounted on. */
  readonly namespacePath: string;
  readonly end: WireEnd;
}

/** A wire that is there. */
export interface Wire {
  readonly device: string;
  /** Interface index of the host's end. */
  readonly index: number;
  /** Null while it is on no bridge. */
  readonly bridge: string | null;
  /** As `namespaceAt` named it when the wire was made; null for one whose far end has stayed on the host. */
  readonly namespace: string | null;
  readonly up: boolean;
}

export interface WiringState {
  /** Only those with our mark. */
  readonly wires: readonly Wire[];
  /** Addresses that the host has by `expose`. */
  readonly exposed: readonly Ipv4[];
  /** IPv6 addresses that the host has for itself alone, as `expose` gives them, whoever gave them. */
  readonly local6: readonly Ipv6[];
  /** Names of all bridges. */
  readonly bridges: readonly string[];
}

/**
 * Wires network namespaces of this host to its bridges. What it makes carries a mark, and only that is listed and
 * removed. @throws AppError `unavailable` with what the kernel said.
 */
export interface Wiring {
  observe(): Promise<WiringState>;
  /** Which network namespace is at `path` now; null when there is none. Two that live at the same time differ. */
  namespaceAt(path: string): Promise<string | null>;
  /** When a process began, in ticks since boot: tells it from a later one with its number. Null when there is none. */
  processStart(pid: number): Promise<string | null>;
  /** All or nothing. @throws AppError `conflict` when the device is there, or the namespace has an interface of that name. */
  connect(wire: WireSpec): Promise<void>;
  /** A pair whose far end somebody else (the engine) takes from the host by the name `far`, and sets up. */
  connectLoose(wire: {
    readonly device: string;
    readonly far: string;
    readonly bridge: string;
    readonly mac: string;
  }): Promise<void>;
  /** Back on its bridge, and up. */
  mend(wire: { readonly device: string; readonly bridge: string }): Promise<void>;
  /** Not there is fine. */
  disconnect(device: string): Promise<void>;
  /** There already is fine. */
  expose(address: HostAddress): Promise<void>;
  /** Not there is fine. */
  hide(address: HostAddress): Promise<void>;
  /** Interfaces and addresses inside a namespace. */
  inspect(namespacePath: string): Promise<readonly { readonly name: string; readonly addresses: readonly string[] }[]>;
}
