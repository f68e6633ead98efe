import type { Endpoint } from "../model/endpoint.ts";
import { DEFAULT_CONTAINER_DOMAIN, type ClusterSettings } from "../model/cluster.ts";
import type { CatalogHost } from "../model/endpoint.ts";
import type { Holder } from "../model/holder.ts";
import { isIpv4 } from "../model/ip.ts";
import { type HostAddress, isIpv6 } from "../model/ip6.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { serviceOf } from "../network/plan-fronts.ts";
import { virtualAddresses } from "../network/virtual-addresses.ts";
import { appName } from "../network/policy/choose-holders.ts";

export interface TraceTargetInput {
  readonly endpoints: readonly Endpoint[];
  readonly holders: readonly Holder[];
  readonly hosts: readonly CatalogHost[];
  readonly virtuals: NetworkConfig["virtuals"];
  readonly settings: ClusterSettings;
  /** That is traced; missing: IPv4. */
  readonly family?: 4 | 6;
  /** Where a host answers by IPv6; null: nowhere. */
  readonly address6Of?: (host: string) => HostAddress | null;
}

export interface TraceTarget {
  /** What a program would ask DNS for; null when TO is no name of DNS. */
  readonly dnsName: string | null;
  /** Known without DNS. */
  readonly addresses: readonly HostAddress[];
  /** Service whose endpoints are meant; null for anything else. */
  readonly service: string | null;
  /** TO is a service's own address, or its name. */
  readonly virtual: { readonly name: string; readonly address: HostAddress; readonly service: string } | null;
}

const NOTHING: TraceTarget = { dnsName: null, addresses: [], service: null, virtual: null };

/**
 * What the text means: an address, `host:NAME`, a name of DNS (with a dot), or the name of a service, container, app,
 * instance or host, in that order. An unknown label is asked as a service, which is what a program would have asked for.
 */
export function chooseTraceTarget(text: string, input: TraceTargetInput): TraceTarget {
  const { settings, hosts, holders, endpoints } = input;
  const { dnsDomain, containerDomain = DEFAULT_CONTAINER_DOMAIN, datacenter } = settings;
  const { family = 4 } = input;
  if (isIpv4(text) || isIpv6(text)) return { ...NOTHING, addresses: [text], virtual: virtualWith(input, text) };
  if (text.startsWith("host:")) {
    const host = hosts.find(({ name }) => name === text.slice("host:".length));
    if (host === undefined) return NOTHING;
    const address = isIpv4(host.address) === (family === 4) ? host.address : (input.address6Of?.(host.name) ?? null);
    return address === null || isIpv4(address) !== (family === 4) ? NOTHING : { ...NOTHING, addresses: [address] };
  }
  const label = text.toLowerCase();
  if (text.includes(".")) return named(label.replace(/\.$/, ""), input);
  if (endpoints.some(({ service }) => service === label)) {
    return { ...NOTHING, dnsName: `${label}.service.${dnsDomain}`, service: label };
  }
  if (holders.some(({ container }) => container === text))
    return { ...NOTHING, dnsName: `${label}.${containerDomain}` };
  const ofApp = holders.filter(({ app, instance }) => app === appName(text) || isInstance(instance, text));
  const [first] = ofApp;
  if (first !== undefined) {
    const [service] = first.services;
    const whole = first.app === appName(text) && service !== undefined;
    return whole
      ? { ...NOTHING, dnsName: `${service}.service.${dnsDomain}`, service }
      : { ...NOTHING, addresses: ofApp.flatMap((each) => (family === 4 ? each.address : (each.address6 ?? []))) };
  }
  if (hosts.some(({ name }) => name === label))
    return { ...NOTHING, dnsName: `${label}.node.${datacenter}.${dnsDomain}` };
  const name = /^[a-z0-9_-]{1,63}$/.test(label) ? `${label}.service.${dnsDomain}` : null;
  return { ...NOTHING, dnsName: name, service: name === null ? null : label };
}

function named(name: string, input: TraceTargetInput): TraceTarget {
  const { dnsDomain } = input.settings;
  const [label = "", kind] = name.endsWith(`.${dnsDomain}`) ? name.slice(0, -dnsDomain.length - 1).split(".") : [];
  const virtual = kind === "virtual" ? virtualNamed(input, label) : null;
  return { ...NOTHING, dnsName: name, service: kind === "service" ? label : null, virtual };
}

function virtualWith(input: TraceTargetInput, address: HostAddress): TraceTarget["virtual"] {
  const [name] = [...virtualAddresses(input.virtuals, input.settings)].find(([, own]) => own.includes(address)) ?? [];
  return name === undefined ? null : virtualNamed(input, name, isIpv4(address) ? 4 : 6);
}

function virtualNamed(
  { virtuals, settings, family = 4 }: TraceTargetInput,
  name: string,
  wanted: 4 | 6 = family,
): TraceTarget["virtual"] {
  const found = virtuals.find((each) => each.name === name);
  const own = virtualAddresses(virtuals, settings).get(name) ?? [];
  const address = own.find((each) => isIpv4(each) === (wanted === 4));
  return found === undefined || address === undefined ? null : { name, address, service: serviceOf(found) };
}

function isInstance(id: string | null, text: string): boolean {
  return id !== null && (id === text || (text.length >= 8 && id.includes(`.instance-${text}`)));
}
