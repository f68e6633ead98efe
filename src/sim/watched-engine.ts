import { FakeEngine } from "./fake-engine.ts";

/** An engine that tells, before it obeys, which running container it is to end. */
export class WatchedEngine extends FakeEngine {
  onEnd: (containerId: string) => void = () => undefined;
  /** Containers that ended by themselves or with the engine: what is done to them after is not of our choice. */
  readonly died = new Set<string>();

  override crash(id: string, exitCode: number, oomKilled = false): void {
    this.died.add(id);
    super.crash(id, exitCode, oomKilled);
  }

  override shutDown(): void {
    for (const { id } of this.containersNow()) this.died.add(id);
    super.shutDown();
  }

  override stopContainer(id: string, graceMs: number): Promise<void> {
    this.#tell(id);
    return super.stopContainer(id, graceMs);
  }

  override removeContainer(id: string): Promise<void> {
    this.#tell(id);
    return super.removeContainer(id);
  }

  #tell(id: string): void {
    if (this.containersNow().some((each) => each.id === id && each.state === "running")) this.onEnd(id);
  }
}
