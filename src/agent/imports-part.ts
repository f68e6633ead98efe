import type { ImportDuty } from "../network/plan-imports.ts";
import { planImportDuties, renderImport, targetKey } from "../network/plan-imports.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Prober } from "../platform/ports/prober.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import { Limiter } from "./limiter.ts";

export interface ImportsPartOptions {
  readonly state: AgentState;
  readonly prober: Pick<Prober, "tcp">;
  readonly clock: Clock;
}

const CHECK_INTERVAL_MS = 5000;
const CHECK_TIMEOUT_MS = 2000;
/** One lost packet must not take a database away. */
const FAILURES_MAX = 2;
/** Sockets at a time: a thousand targets that do not answer must not take the agent's. */
const CHECKS_AT_ONCE = 32;

/** Looks after the imported services that are this host's, and hands their endpoints to the registration part. */
export function createImportsPart(options: ImportsPartOptions): AgentPart {
  return { name: "imports", run: (signal) => new ImportsPart(options).run(signal) };
}

interface Finding {
  readonly passing: boolean;
  readonly failures: number;
  /** Null: heard of from the host that looked after it before. */
  readonly checkedMs: number | null;
}

class ImportsPart {
  readonly #options: ImportsPartOptions;
  /** By target, for all that are declared: a new owner goes on with what the former one found. */
  readonly #findings = new Map<string, Finding>();
  readonly #limiter = new Limiter(CHECKS_AT_ONCE);
  #duties: readonly ImportDuty[] = [];
  #published = "[]";
  #poked = false;
  #nap = new AbortController();

  constructor(options: ImportsPartOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, clock } = this.#options;
    const poke = (): void => {
      this.#poked = true;
      this.#nap.abort();
    };
    const offs = (["identity", "catalog", "network-config"] as const).map((topic) => state.on(topic, poke));
    signal.addEventListener("abort", poke);
    while (!signal.aborted) {
      this.#poked = false;
      this.#nap = new AbortController();
      this.#follow();
      this.#publish();
      await Promise.all(this.#duties.filter((duty) => this.#dueInMs(duty) <= 0).map((duty) => this.#check(duty)));
      const pauseMs = Math.min(CHECK_INTERVAL_MS, ...this.#duties.map((duty) => this.#dueInMs(duty)));
      if (!this.#poked && !signal.aborted) await clock.sleep(pauseMs, this.#nap.signal);
    }
    signal.removeEventListener("abort", poke);
    for (const off of offs) off();
  }

  #follow(): void {
    const { state } = this.#options;
    const { imports } = state.networkConfig;
    const own = state.identity?.hostName;
    const declared = new Set(imports.flatMap((one) => one.targets.map((target) => targetKey(one, target))));
    for (const key of this.#findings.keys()) if (!declared.has(key)) this.#findings.delete(key);
    this.#duties = [];
    if (own === undefined || imports.length === 0) return;
    for (const { id, host, health } of state.eachEndpoint()) {
      const key = id.slice(`${host}:import:`.length);
      if (host === own || !id.startsWith(`${host}:import:`) || !declared.has(key)) continue;
      this.#findings.set(key, { passing: health === "passing", failures: 0, checkedMs: null });
    }
    this.#duties = planImportDuties({ imports, hosts: state.hosts, hostName: own, present: state.eachEndpoint() });
  }

  #dueInMs({ imported, key }: ImportDuty): number {
    if (imported.check === "none" || imported.protocol === "udp") return Number.POSITIVE_INFINITY;
    const checkedMs = this.#findings.get(key)?.checkedMs ?? null;
    return checkedMs === null ? 0 : checkedMs + CHECK_INTERVAL_MS - this.#options.clock.monotonicMs();
  }

  async #check({ target, key }: ImportDuty): Promise<void> {
    const { prober, clock } = this.#options;
    const { ok } = await this.#limiter.run(() => prober.tcp(target.address, target.port, CHECK_TIMEOUT_MS));
    const before = this.#findings.get(key);
    const failures = ok ? 0 : (before?.failures ?? 0) + 1;
    const passing = ok || (before?.passing === true && failures < FAILURES_MAX);
    this.#findings.set(key, { passing, failures, checkedMs: clock.monotonicMs() });
    this.#publish();
  }

  #publish(): void {
    const { state } = this.#options;
    const host = state.identity?.hostName ?? "";
    const health = new Map([...this.#findings].map(([key, { passing }]) => [key, passing]));
    const endpoints = this.#duties.map((duty) => renderImport(duty, host, health));
    const text = JSON.stringify(endpoints);
    if (text === this.#published) return;
    this.#published = text;
    state.setImports(endpoints);
  }
}
