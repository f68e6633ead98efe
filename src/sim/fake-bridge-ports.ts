import { AppError } from "../model/error.ts";
import type { BridgePort, BridgePorts, FarPort } from "../platform/ports/bridge-ports.ts";

/** Wires into one bridge, in memory. */
export class FakeBridgePorts implements BridgePorts {
  readonly ports: BridgePort[] = [];
  /** Wires in no bridge. */
  readonly looseWires: BridgePort[] = [];
  /** Missing devices are refused, as by the kernel; null: there is no bridge. */
  bridge: string | null = "apollo0";
  /** By process: interfaces in its network. */
  readonly inside = new Map<number, readonly FarPort[]>();
  readonly indexes = new Map<number, readonly number[]>();
  #onChange: () => void = () => {};

  async list(): Promise<readonly BridgePort[] | null> {
    await Promise.resolve();
    return this.bridge === null ? null : [...this.ports];
  }

  async loose(): Promise<readonly BridgePort[]> {
    await Promise.resolve();
    return [...this.looseWires];
  }

  async farPorts(pid: number): Promise<readonly FarPort[] | null> {
    await Promise.resolve();
    return this.inside.get(pid) ?? null;
  }

  async plug(device: string, bridge: string): Promise<void> {
    await Promise.resolve();
    const at = this.looseWires.findIndex((wire) => wire.device === device);
    const wire = this.looseWires[at];
    if (wire === undefined || bridge !== this.bridge) {
      throw new AppError("unavailable", `Cannot plug ${device} into ${bridge}: one of them is not there`);
    }
    this.looseWires.splice(at, 1);
    this.ports.push(wire);
  }

  async indexesOf(pid: number): Promise<readonly number[] | null> {
    await Promise.resolve();
    return this.indexes.get(pid) ?? null;
  }

  async watch(_bridge: string, onChange: () => void, signal: AbortSignal): Promise<void> {
    this.#onChange = onChange;
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
  }

  /** What the kernel's monitor would report. */
  change(): void {
    this.#onChange();
  }
}
