import type { Endpoint } from "../model/endpoint.ts";
import { DEFAULT_CONTAINER_DOMAIN, type ClusterSettings } from "../model/cluster.ts";
import type { CatalogHost } from "../model/endpoint.ts";
import type { Holder } from "../model/holder.ts";
import { type Ipv4, isIpv4 } from "../model/ip.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { serviceOf } from "../network/plan-fronts.ts";
import { appName } from "../network/policy/choose-holders.ts";

export interface TraceTargetInput {
  readonly endpoints: readonly Endpoint[];
  readonly holders: readonly Holder[];
  readonly hosts: readonly CatalogHost[];
  readonly virtuals: NetworkConfig["virtuals"];
  readonly settings: ClusterSettings;
}

export interface TraceTarget {
  /** What a program would ask DNS for; null when TO is no name of DNS. */
  readonly dnsName: string | null;
  /** Known without DNS. */
  readonly addresses: readonly Ipv4[];
  /** Service whose endpoints are meant; null for anything else. */
  readonly service: string | null;
  /** TO is a service's own address, or its name. */
  readonly virtual: { readonly name: string; readonly address: Ipv4; readonly service: string } | null;
}

const NOTHING: TraceTarget = { dnsName: null, addresses: [], service: null, virtual: null };

/**
 * What the text means: an address, `host:NAME`, a name of DNS (with a dot), or the name of a service, container, app,
 * instance or host, in that order. An unknown label is asked as a service, which is what a program would have asked for.
 */
export function chooseTraceTarget(text: string, input: TraceTargetInput): TraceTarget {
  const { settings, hosts, holders, endpoints } = input;
  const { dnsDomain, containerDomain = DEFAULT_CONTAINER_DOMAIN, datacenter } = settings;
  if (isIpv4(text))
    return { ...NOTHING, addresses: [text], virtual: virtualAt(input, ({ address }) => address === text) };
  if (text.startsWith("host:")) {
    const host = hosts.find(({ name }) => name === text.slice("host:".length));
    return host === undefined || !isIpv4(host.address) ? NOTHING : { ...NOTHING, addresses: [host.address] };
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
      : { ...NOTHING, addresses: ofApp.map(({ address }) => address) };
  }
  if (hosts.some(({ name }) => name === label))
    return { ...NOTHING, dnsName: `${label}.node.${datacenter}.${dnsDomain}` };
  const name = /^[a-z0-9_-]{1,63}$/.test(label) ? `${label}.service.${dnsDomain}` : null;
  return { ...NOTHING, dnsName: name, service: name === null ? null : label };
}

function named(name: string, input: TraceTargetInput): TraceTarget {
  const { dnsDomain } = input.settings;
  const [label = "", kind] = name.endsWith(`.${dnsDomain}`) ? name.slice(0, -dnsDomain.length - 1).split(".") : [];
  const virtual = kind === "virtual" ? virtualAt(input, (each) => each.name === label) : null;
  return { ...NOTHING, dnsName: name, service: kind === "service" ? label : null, virtual };
}

function virtualAt(
  { virtuals }: TraceTargetInput,
  fits: (virtual: NetworkConfig["virtuals"][number]) => boolean,
): TraceTarget["virtual"] {
  const found = virtuals.find(fits);
  if (found?.address === undefined || !isIpv4(found.address)) return null;
  return { name: found.name, address: found.address, service: serviceOf(found) };
}

function isInstance(id: string | null, text: string): boolean {
  return id !== null && (id === text || (text.length >= 8 && id.includes(`.instance-${text}`)));
}
