import type { Container } from "../model/container.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HttpProbe, Prober, ProbeResult } from "../platform/ports/prober.ts";

const LATENCY_MS = 2;

/** Probes the containers that run on a machine: they answer, unless they are sick or of a definition that never does. */
export class MachineProber implements Prober {
  /** Ids of containers that answer 500. */
  readonly sick = new Set<string>();
  readonly #clock: Clock;
  readonly #containers: () => readonly Container[];

  constructor(clock: Clock, containers: () => readonly Container[]) {
    this.#clock = clock;
    this.#containers = containers;
  }

  /** Whether a check of it passes now. */
  isWell(container: Container): boolean {
    return (
      container.state === "running" && !this.sick.has(container.id) && container.env["MISBEHAVE"] !== "never-healthy"
    );
  }

  async http({ address }: HttpProbe): Promise<ProbeResult<number>> {
    const found = await this.#find(address);
    if (found === undefined) return { ok: false, cause: "connection refused" };
    return { ok: true, answer: this.isWell(found) ? 200 : 500 };
  }

  async tcp(address: HostAddress): Promise<ProbeResult<null>> {
    const found = await this.#find(address);
    return found !== undefined && this.isWell(found) ? { ok: true, answer: null } : { ok: false, cause: "refused" };
  }

  async #find(address: HostAddress): Promise<Container | undefined> {
    await this.#clock.sleep(LATENCY_MS);
    return this.#containers().find(
      ({ state, addresses }) => state === "running" && Object.values(addresses).some((own) => own === address),
    );
  }
}
