import type { HostAddress } from "../model/ip6.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HttpProbe, Prober, ProbeResult } from "../platform/ports/prober.ts";

/** Instances as a prober sees them: by `address:port`, the HTTP status they answer; missing means that nobody listens. */
export class FakeProber implements Prober {
  readonly answers = new Map<string, number>();
  /** When which target was probed. */
  readonly probes: { readonly target: string; readonly atMs: number }[] = [];
  readonly #clock: Clock;
  readonly #latencyMs: number;

  constructor(clock: Clock, latencyMs = 1) {
    this.#clock = clock;
    this.#latencyMs = latencyMs;
  }

  async http(probe: HttpProbe): Promise<ProbeResult<number>> {
    const status = await this.#ask(probe.address, probe.port);
    return status === undefined ? { ok: false, cause: "connection refused" } : { ok: true, answer: status };
  }

  async tcp(address: HostAddress, port: number): Promise<ProbeResult<null>> {
    const status = await this.#ask(address, port);
    return status === undefined ? { ok: false, cause: "connection refused" } : { ok: true, answer: null };
  }

  async #ask(address: HostAddress, port: number): Promise<number | undefined> {
    const target = `${address}:${port}`;
    this.probes.push({ target, atMs: this.#clock.nowMs() });
    await this.#clock.sleep(this.#latencyMs);
    return this.answers.get(target);
  }
}
