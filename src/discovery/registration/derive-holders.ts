import { type Container, LABEL_APP, LABEL_INSTANCE } from "../../model/container.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Holder } from "../../model/holder.ts";
import type { InstanceId } from "../../model/ids.ts";
import type { Cidr, Ipv4 } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";
import { cidrContains } from "../../model/ip.ts";
import { DEFAULT_NETWORK } from "../../model/network-config.ts";
import { sameHolder } from "../../model/holder.ts";

export interface HolderContext {
  readonly hostName: string;
  /** Of the default network. */
  readonly range: Cidr;
  /** Networks of the engine that lie on our bridge beside its own for us: those of our driver, and its default one. */
  readonly otherNetworks: readonly string[];
  /** The engine's names of our networks, which are theirs. */
  readonly networks: readonly string[];
  /** The engine's names of declared networks of ours, and those. Missing is none. */
  readonly declared?: ReadonlyMap<string, string>;
  /** This host's. */
  readonly endpoints: readonly Endpoint[];
  /** Keys that policy rules name. */
  readonly labelKeys: ReadonlySet<string>;
  /** What was derived before, by id. */
  readonly before: ReadonlyMap<string, Holder>;
}

/** Engines say so until a container has an address; it may have one that it is going to get. */
const STARTING: ReadonlySet<Container["state"]> = new Set(["created", "restarting"]);
const ALIVE: ReadonlySet<Container["state"]> = new Set(["running", "paused"]);

/**
 * The addresses that containers of this host hold, or will hold as soon as they start: a container that was created with a
 * fixed address is told about before its first packet, so that its rights are there when it is.
 */
export function deriveHolders(containers: readonly Container[], context: HolderContext): readonly Holder[] {
  const services = new Map<string, Set<string>>();
  for (const { container, service } of context.endpoints) {
    services.set(container, (services.get(container) ?? new Set()).add(service));
  }
  return containers
    .flatMap((container) =>
      addressesOf(container, context).map(([network, address, address6]): Holder => {
        const id = `${context.hostName}:${container.name}:${network}`;
        const before = context.before.get(id);
        const instance = container.labels[LABEL_INSTANCE] ?? null;
        const holder: Holder = {
          id,
          address,
          ...(address6 === undefined ? {} : { address6 }),
          network,
          host: context.hostName,
          container: container.name,
          instance: instance as InstanceId | null,
          app: container.labels[LABEL_APP] ?? null,
          // An instance that drains is out of the catalog, and still works on what it has begun.
          services: [...(services.get(container.name) ?? before?.services ?? [])].toSorted(),
          labels: pick(container.labels, context.labelKeys),
        };
        return before !== undefined && sameHolder(before, holder) ? before : holder;
      }),
    )
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

type NetworkAddresses = readonly [network: string, address: Ipv4, address6: Ipv6 | undefined];

function addressesOf(container: Container, context: HolderContext): readonly NetworkAddresses[] {
  if (STARTING.has(container.state)) {
    const address = container.fixedAddress;
    // It may be one of another network, which has an address of its own choosing.
    const inside = address !== null && cidrContains(context.range, address);
    return inside ? [[DEFAULT_NETWORK, address, container.fixedAddress6]] : [];
  }
  if (!ALIVE.has(container.state)) return [];
  const names = [...context.networks.map((name) => [name, name] as const), ...(context.declared ?? [])];
  const found = new Map<string, NetworkAddresses>();
  const add = (name: string, network: string): void => {
    const address = container.addresses[name];
    if (address !== undefined) found.set(network, [network, address, container.addresses6?.[name]]);
  };
  for (const [name, network] of names) add(name, network);
  const shared = context.otherNetworks.find((name) => container.addresses[name] !== undefined);
  if (shared !== undefined && !found.has(DEFAULT_NETWORK)) add(shared, DEFAULT_NETWORK);
  return [...found.values()];
}

function pick(labels: Readonly<Record<string, string>>, keys: ReadonlySet<string>): Readonly<Record<string, string>> {
  const pairs = Object.entries(labels).filter(([key, value]) => keys.has(key) && value.length <= 255);
  return Object.fromEntries(pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
