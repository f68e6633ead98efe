import type { AppSpec } from "../model/app.ts";
import type { Host, HostResources } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Instance } from "../model/instance.ts";
import { cidrSize, parseCidr } from "../model/ip.ts";

/** What heartbeats say of a host; `down` with the moment that was decided. */
export type HostPresence =
  | { readonly phase: "joining" }
  | { readonly phase: "up" }
  | { readonly phase: "down"; readonly sinceMs: number };

/** What one instance takes of its host. */
export interface Needs extends HostResources {
  /** 1 on the flat network, 0 on the host's own. */
  readonly addresses: 0 | 1;
}

/** A host as the scheduler sees it: what it has, what is promised of that, and whether it takes more. */
export interface HostLoad {
  readonly id: HostId;
  readonly name: string;
  readonly presence: HostPresence;
  readonly cordoned: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: HostResources;
  readonly used: HostResources;
  /** Addresses that instances can have there, further blocks included, and how many are taken. */
  readonly addresses: { readonly total: number; readonly used: number };
  /** Instances recorded on it, leaving ones too: they hold their share until the host says they are gone. */
  readonly instances: number;
}

export interface HostLoadInput {
  readonly hosts: Iterable<Host>;
  readonly presenceOf: (id: HostId) => HostPresence;
  readonly instances: Iterable<Instance>;
  /** The definition an instance runs; null when it is no longer known, which then counts as an address alone. */
  readonly specOf: (instance: Instance) => AppSpec | null;
  /** Addresses that no host holds yet: each may get them as further blocks. */
  readonly spareAddresses?: number;
}

/** Network address, gateway and broadcast address of a block are not for instances. */
const RESERVED_ADDRESSES = 3;

export function needsOf(spec: AppSpec): Needs {
  const { cpus, memoryMiB, diskMiB } = spec;
  return { cpus, memoryMiB, diskMiB, addresses: spec.network === "apollo" ? 1 : 0 };
}

/** Adds up what is promised on each host; sorted by host name. */
export function hostLoads(input: HostLoadInput): readonly HostLoad[] {
  const sums = new Map<
    HostId,
    { cpus: number; memoryMiB: number; diskMiB: number; addresses: number; count: number }
  >();
  for (const instance of input.instances) {
    let sum = sums.get(instance.hostId);
    if (sum === undefined) {
      sum = { cpus: 0, memoryMiB: 0, diskMiB: 0, addresses: 0, count: 0 };
      sums.set(instance.hostId, sum);
    }
    const spec = input.specOf(instance);
    sum.cpus += spec?.cpus ?? 0;
    sum.memoryMiB += spec?.memoryMiB ?? 0;
    sum.diskMiB += spec?.diskMiB ?? 0;
    sum.addresses += spec === null || spec.network === "apollo" ? 1 : 0;
    sum.count += 1;
  }
  const loads: HostLoad[] = [];
  for (const host of input.hosts) {
    const sum = sums.get(host.id);
    loads.push({
      id: host.id,
      name: host.name,
      presence: input.presenceOf(host.id),
      cordoned: host.cordoned,
      labels: host.labels,
      resources: host.resources,
      used: { cpus: sum?.cpus ?? 0, memoryMiB: sum?.memoryMiB ?? 0, diskMiB: sum?.diskMiB ?? 0 },
      addresses: { total: usableAddresses(host.blocks) + (input.spareAddresses ?? 0), used: sum?.addresses ?? 0 },
      instances: sum?.count ?? 0,
    });
  }
  return loads.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function usableAddresses(blocks: readonly string[]): number {
  let total = 0;
  for (const block of blocks) total += Math.max(0, cidrSize(parseCidr(block)) - RESERVED_ADDRESSES);
  return total;
}
