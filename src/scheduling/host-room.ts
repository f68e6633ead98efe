import type { HostLoad, Needs } from "./host-load.ts";

/** Sums of shares such as 0.1 + 0.2 differ from 0.3 in the last bits; nothing real is smaller than this. */
const SLACK = 1e-6;

/** Where a host stands in the order of questions, first to last: the last one asked names the problem. */
export type RefusalStage = "state" | "constraint" | "cpu" | "memory" | "disk" | "addresses";

export interface Refusal {
  readonly stage: RefusalStage;
  /** For people: "needs 0.3 cpu, 0.1 free". */
  readonly reason: string;
}

/** What is left of a host while a pass places instances. Hosts are numbered by name, so that ties go by name. */
export class HostRoom {
  readonly load: HostLoad;
  readonly index: number;
  cpus: number;
  memoryMiB: number;
  diskMiB: number;
  addresses: number;
  instances: number;
  /** The larger of the used shares of cpu and memory, 0 to 1. */
  share = 0;

  constructor(load: HostLoad, index: number) {
    this.load = load;
    this.index = index;
    this.cpus = load.resources.cpus - load.used.cpus;
    this.memoryMiB = load.resources.memoryMiB - load.used.memoryMiB;
    this.diskMiB = load.resources.diskMiB - load.used.diskMiB;
    this.addresses = load.addresses.total - load.addresses.used;
    this.instances = load.instances;
    this.#weigh();
  }

  get takesInstances(): boolean {
    return this.load.presence.phase === "up" && !this.load.cordoned;
  }

  fits(needs: Needs): boolean {
    return (
      needs.cpus <= this.cpus + SLACK &&
      needs.memoryMiB <= this.memoryMiB + SLACK &&
      needs.diskMiB <= this.diskMiB + SLACK &&
      needs.addresses <= this.addresses
    );
  }

  /** How many such instances fit, `max` at most. */
  capacity(needs: Needs, max: number): number {
    const count = (need: number, free: number): number => (need <= 0 ? max : Math.floor((free + SLACK) / need));
    return Math.max(
      0,
      Math.min(
        max,
        count(needs.cpus, this.cpus),
        count(needs.memoryMiB, this.memoryMiB),
        count(needs.diskMiB, this.diskMiB),
        count(needs.addresses, this.addresses),
      ),
    );
  }

  take(needs: Needs): void {
    this.cpus -= needs.cpus;
    this.memoryMiB -= needs.memoryMiB;
    this.diskMiB -= needs.diskMiB;
    this.addresses -= needs.addresses;
    this.instances += 1;
    this.#weigh();
  }

  /** Why the host takes no instance at all, whatever it needs. */
  refuseState(): Refusal | null {
    const { presence, cordoned } = this.load;
    if (presence.phase === "down") return { stage: "state", reason: "it is down" };
    if (presence.phase === "joining") return { stage: "state", reason: "it was not heard of yet" };
    return cordoned ? { stage: "state", reason: "it is cordoned" } : null;
  }

  refuseNeeds(needs: Needs): Refusal | null {
    const total = this.load.addresses.total;
    return (
      short("cpu", [needs.cpus, this.cpus], "cpu") ??
      short("memory", [needs.memoryMiB, this.memoryMiB], "MiB memory") ??
      short("disk", [needs.diskMiB, this.diskMiB], "MiB disk") ??
      (needs.addresses <= this.addresses
        ? null
        : { stage: "addresses", reason: `all ${total} addresses of its block are taken` })
    );
  }

  #weigh(): void {
    const { cpus, memoryMiB } = this.load.resources;
    const cpuShare = cpus > 0 ? 1 - this.cpus / cpus : 1;
    const memoryShare = memoryMiB > 0 ? 1 - this.memoryMiB / memoryMiB : 1;
    // Rounded, so that two hosts with the same load tie whatever the order their instances were added up in.
    this.share = Math.round(Math.max(cpuShare, memoryShare) * 1e9) / 1e9;
  }
}

/** Lower used share first, then fewer instances, then the name. */
export function lessLoaded(a: HostRoom, b: HostRoom): boolean {
  if (a.share !== b.share) return a.share < b.share;
  if (a.instances !== b.instances) return a.instances < b.instances;
  return a.index < b.index;
}

function short(stage: RefusalStage, [need, free]: readonly [number, number], unit: string): Refusal | null {
  if (need <= free + SLACK) return null;
  return { stage, reason: `needs ${formatAmount(need)} ${unit}, ${formatAmount(Math.max(0, free))} free` };
}

function formatAmount(amount: number): string {
  return String(Math.round(amount * 1000) / 1000);
}
