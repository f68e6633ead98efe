import type { Ipv4 } from "./ip.ts";
import type { Ipv6 } from "./ip6.ts";

/**
 * A container that holds an address in one of our networks, as policy sees it: by what a rule can name it. Every host
 * tells of its own and knows all others', containers without ports included, which no catalog has.
 */
export interface Holder {
  /** Unique in the cluster: `<host>:<container name>:<network>`. */
  readonly id: string;
  readonly address: Ipv4;
  /** Missing: none. */
  readonly address6?: Ipv6;
  readonly network: string;
  readonly host: string;
  readonly container: string;
  readonly instance: string | null;
  readonly app: string | null;
  /** Names it is registered under, healthy or not. Sorted. */
  readonly services: readonly string[];
  /** Only those whose keys some policy rule names: an engine's container carries dozens. */
  readonly labels: Readonly<Record<string, string>>;
}

export function sameHolder(a: Holder, b: Holder): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
