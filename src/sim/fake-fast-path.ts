import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { DnsCounts } from "../model/wire.ts";
import type {
  FastPath,
  FastPathAction,
  FastPathCounters,
  FastPathEntry,
  FastPathProgram,
  FastPathState,
} from "../platform/ports/fast-path.ts";
import { entryKey } from "../network/plan-fast-path.ts";

/** The fast path of a kernel in memory; as strict as the real one about order and devices. */
export class FakeFastPath implements FastPath {
  readonly devices = new Map<string, { index: number; ethernet: boolean }>();
  readonly filters = new Map<string, FastPathProgram>();
  readonly #entries = new Map<string, FastPathEntry>();
  /** Set: `open` fails with it, as on a kernel without BPF. */
  broken: AppError | null = null;
  /** What its programs have counted, by peer. */
  readonly seen = new Map<Ipv4, FastPathCounters>();
  /** The same of questions. */
  questions: DnsCounts = { answered: 0, passed: 0 };
  #open = false;
  installed = false;

  async open(): Promise<void> {
    await Promise.resolve();
    if (this.broken !== null) throw this.broken;
    this.#open = true;
    this.installed = true;
  }

  async observe(): Promise<FastPathState> {
    await Promise.resolve();
    this.#requireOpen();
    // A filter lives on its device.
    for (const device of this.filters.keys()) if (!this.devices.has(device)) this.filters.delete(device);
    return {
      entries: [...this.#entries.values()],
      filters: [...this.filters].map(([device, program]) => ({ device, program })),
      stale: [],
      devices: new Map(this.devices),
    };
  }

  async apply(action: FastPathAction): Promise<void> {
    await Promise.resolve();
    this.#requireOpen();
    switch (action.kind) {
      case "put-entry":
        this.#entries.set(entryKey(action.entry), action.entry);
        return;
      case "delete-entry":
        this.#assertNotNeeded(action.entry);
        this.#entries.delete(entryKey(action.entry));
        return;
      case "attach":
        if (!this.devices.has(action.filter.device)) {
          throw new AppError("unavailable", `Cannot find device "${action.filter.device}"`);
        }
        this.#assertSourceKnown(action.filter);
        this.filters.set(action.filter.device, action.filter.program);
        return;
      case "detach":
        this.filters.delete(action.device);
    }
  }

  counters(): Promise<{
    readonly ports: ReadonlyMap<number, FastPathCounters>;
    readonly peers: ReadonlyMap<Ipv4, FastPathCounters>;
    readonly dns: DnsCounts;
  }> {
    this.#requireOpen();
    return Promise.resolve({ ports: new Map(), peers: this.seen, dns: this.questions });
  }

  async remove(): Promise<void> {
    await Promise.resolve();
    this.filters.clear();
    this.#entries.clear();
    this.#open = false;
    this.installed = false;
  }

  /** All of it, one line a fact. */
  toString(): string {
    const filters = [...this.filters].map(([device, program]) => `${device} ${program}`);
    const entries = [...this.#entries.values()].map(formatEntry);
    return [...filters.toSorted(), ...entries.toSorted()].join("\n");
  }

  #requireOpen(): void {
    if (!this.#open) throw new Error("The fast path was not opened");
  }

  /** The real program would drop every packet of the container. */
  #assertNotNeeded(entry: FastPathEntry): void {
    if (entry.map !== "sources") return;
    for (const [device, program] of this.filters) {
      if (program === "from_container" && this.devices.get(device)?.index === entry.ifindex) {
        throw new Error(`The source of ${device} was deleted before its program`);
      }
    }
  }

  #assertSourceKnown({ device, program }: { device: string; program: FastPathProgram }): void {
    const index = this.devices.get(device)?.index;
    const known = [...this.#entries.values()].some((entry) => entry.map === "sources" && entry.ifindex === index);
    if (program === "from_container" && !known) throw new Error(`${device} got its program before its source`);
  }
}

function formatEntry(entry: FastPathEntry): string {
  const { map, ...rest } = entry;
  return `${map} ${Object.values(rest).join(" ")}`;
}
