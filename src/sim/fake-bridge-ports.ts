import type { BridgePort, BridgePorts } from "../platform/ports/bridge-ports.ts";

/** Wires into one bridge, in memory. */
export class FakeBridgePorts implements BridgePorts {
  readonly ports: BridgePort[] = [];
  readonly indexes = new Map<number, readonly number[]>();
  #onChange: () => void = () => {};

  async list(): Promise<readonly BridgePort[]> {
    await Promise.resolve();
    return [...this.ports];
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
