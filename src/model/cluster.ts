import type { DnsSettings } from "./dns-settings.ts";
import type { Ipv4 } from "./ip.ts";

/** Settings that every host and server share; stored, changed only by compare-and-swap. */
export interface ClusterSettings {
  /** CIDR text of the container range. */
  readonly range: string;
  /** Prefix length of a host's block. */
  readonly blockPrefix: number;
  /** DNS domain, without dots at the ends: `consul` by default, for the clients of the 2015 stack. */
  readonly dnsDomain: string;
  readonly datacenter: string;
  /** Base domain of the ingress: `<service>.<domain>` is routed to the service. */
  readonly ingressDomain: string;
  /** Where containers' outside names are asked, when the host's own resolver is not to be used. */
  readonly dnsUpstreams: readonly Ipv4[];
  /** `required`: what containers say to each other leaves no host in the clear. Missing means `auto`. */
  readonly encryption?: "auto" | "required" | "off";
  /** What differs from `DEFAULT_DNS`. */
  readonly dns?: Partial<DnsSettings>;
}

export const DEFAULT_SETTINGS: ClusterSettings = {
  range: "10.2.0.0/16",
  blockPrefix: 24,
  dnsDomain: "consul",
  datacenter: "dc1",
  ingressDomain: "example.com",
  dnsUpstreams: [],
};
