/** Whom selectors mean, as addresses. A rule's list means what any of its selectors means; the fields of one must all fit. */
import type { Holder } from "../../model/holder.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { cidrSize, ipv4ToNumber, parseCidr } from "../../model/ip.ts";
import type { Selector } from "../../model/network-config.ts";

/** Addresses from `first` to `last`, both included, as unsigned 32-bit numbers. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

export const EVERYONE: readonly Span[] = [{ first: 0, last: 0xff_ff_ff_ff }];

/** Finds holders by what rules name: a rule costs what it means, not what the cluster has. */
export class HolderIndex {
  readonly all: readonly Holder[];
  readonly #apps = new Map<string, Holder[]>();
  readonly #services = new Map<string, Holder[]>();
  readonly #hosts: readonly Span[];

  constructor(holders: readonly Holder[], hostAddresses: readonly Ipv4[]) {
    this.all = holders;
    this.#hosts = hostAddresses.map(pointOf);
    for (const holder of holders) {
      if (holder.app !== null) addTo(this.#apps, holder.app, holder);
      for (const service of holder.services) addTo(this.#services, service, holder);
    }
  }

  hasApp(app: string): boolean {
    return this.#apps.has(appName(app));
  }

  hasService(service: string): boolean {
    return this.#services.has(service.toLowerCase());
  }

  /** All addresses that the selectors mean; they may touch and overlap. */
  spansOf(selectors: readonly Selector[]): readonly Span[] {
    return selectors.flatMap((selector) => this.#spansOfOne(selector));
  }

  #spansOfOne(selector: Selector): readonly Span[] {
    const range = selector.cidr === undefined ? null : spanOf(selector.cidr);
    if (selector.host !== undefined) {
      // No container is a host.
      return namesHolders(selector) ? [] : this.#hosts.filter((host) => range === null || contains(range, host.first));
    }
    if (!namesHolders(selector)) return range === null ? [] : [range];
    return this.#candidates(selector)
      .filter((holder) => fitsHolder(selector, holder))
      .map(({ address }) => pointOf(address))
      .filter(({ first }) => range === null || contains(range, first));
  }

  #candidates(selector: Selector): readonly Holder[] {
    if (selector.app !== undefined) return this.#apps.get(appName(selector.app)) ?? [];
    if (selector.service !== undefined) return this.#services.get(selector.service.toLowerCase()) ?? [];
    return this.all;
  }
}

/** Whether a selector speaks of containers, and not only of addresses or hosts. */
function namesHolders({ app, service, network, labels }: Selector): boolean {
  return app !== undefined || service !== undefined || network !== undefined || labels !== undefined;
}

/** All fields but `cidr` and `host`, which are about the address alone. */
function fitsHolder({ app, service, network, labels }: Selector, holder: Holder): boolean {
  if (app !== undefined && holder.app !== appName(app)) return false;
  if (service !== undefined && !holder.services.includes(service.toLowerCase())) return false;
  if (network !== undefined && holder.network !== network) return false;
  return Object.entries(labels ?? {}).every(([key, value]) => holder.labels[key] === value);
}

/** `shop/web` and `/shop/web` are the same app. */
export function appName(text: string): string {
  return `/${text.split("/").filter(Boolean).join("/")}`;
}

export function spanOf(cidr: string): Span {
  const parsed = parseCidr(cidr);
  return { first: parsed.first, last: parsed.first + cidrSize(parsed) - 1 };
}

export function pointOf(address: Ipv4): Span {
  const value = ipv4ToNumber(address);
  return { first: value, last: value };
}

export function contains(span: Span, value: number): boolean {
  return value >= span.first && value <= span.last;
}

function addTo(index: Map<string, Holder[]>, key: string, holder: Holder): void {
  const list = index.get(key);
  if (list === undefined) index.set(key, [holder]);
  else list.push(holder);
}
