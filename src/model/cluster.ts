import type { DnsSettings } from "./dns-settings.ts";
import type { Ipv4 } from "./ip.ts";

/** Settings that every host and server share; stored, changed only by compare-and-swap. */
export interface ClusterSettings {
  /** CIDR text of the container range. */
  readonly range: string;
  /** CIDR text of the /64 of containers' IPv6 addresses; null or missing (a cluster of an older version): they have none. */
  readonly range6?: string | null;
  /** CIDR text of the addresses that services get for life; see `VirtualService`. */
  readonly virtualRange: string;
  /** Prefix length of a host's block. */
  readonly blockPrefix: number;
  /** DNS domain, without dots at the ends: `consul` by default, for the clients of the 2015 stack. */
  readonly dnsDomain: string;
  /** DNS domain of container names, `weave.local` unless set: clusters of an older version do not have it stored. */
  readonly containerDomain?: string;
  readonly datacenter: string;
  /** Base domain of the ingress: `<service>.<domain>` is routed to the service. */
  readonly ingressDomain: string;
  /** Where containers' outside names are asked, when the host's own resolver is not to be used. */
  readonly dnsUpstreams: readonly Ipv4[];
  /**
   * Of packets between hosts. "auto": between hosts that are not both in a trusted range; "required": always, or they are
   * not sent; "off": never.
   */
  readonly encryption: Encryption;
  /** CIDR texts of the networks that nobody else listens on. */
  readonly trustedRanges: readonly string[];
  /** What differs from `DEFAULT_DNS`. */
  readonly dns?: Partial<DnsSettings>;
}

export const ENCRYPTIONS = ["auto", "required", "off"] as const;
export type Encryption = (typeof ENCRYPTIONS)[number];
/** Where Weave's users look for a container by its name. */
export const DEFAULT_CONTAINER_DOMAIN = "weave.local";

export const DEFAULT_SETTINGS: ClusterSettings = {
  range: "10.2.0.0/16",
  virtualRange: "10.3.0.0/16",
  blockPrefix: 24,
  dnsDomain: "consul",
  datacenter: "dc1",
  ingressDomain: "example.com",
  dnsUpstreams: [],
  encryption: "auto",
  // RFC 1918, RFC 6598 (shared address space of carriers and clouds), RFC 3927 (link-local), RFC 4193 (unique local).
  trustedRanges: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7"],
};
