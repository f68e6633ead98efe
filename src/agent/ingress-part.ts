import { DrainHold } from "../ingress/drain-hold.ts";
import { busyLeavers, desiredProxy, planProxy } from "../ingress/plan-proxy.ts";
import type { Log } from "../platform/ports/log.ts";
import type { ProxySettings } from "../ingress/proxy-settings.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { AppError } from "../model/error.ts";
import type { Condition } from "../model/wire.ts";
import { ReconcileLoop, type Subject } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Proxy, ProxyAction, ProxyState } from "../platform/ports/proxy.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import { ingressFailure, ingressProblem } from "./ingress-conditions.ts";

export interface IngressPartOptions {
  readonly state: AgentState;
  readonly proxy: Proxy;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: ProxySettings;
}

/** A killed HAProxy is found and started again within this; a look costs three questions over a local socket. */
const RESYNC_MS = 2000;
/** While requests end on servers that left: what waits for them is an instance that is to be stopped. */
const BUSY_POLL_MS = 100;
/** Idle connections to a server that left are closed by HAProxy after 5 s; nothing waits for the server's deletion. */
const LEAVER_POLL_MS = 1000;

/** Keeps the host's HAProxy equal to the catalog, and says which catalog revision it serves. */
export function createIngressPart(options: IngressPartOptions): AgentPart {
  const ingress = new IngressPart(options);
  return { name: "ingress", run: (signal) => ingress.run(signal) };
}

class IngressPart implements Subject<ProxyState, ProxyAction> {
  readonly name = "ingress";
  readonly #options: IngressPartOptions;
  readonly #loop: ReconcileLoop<ProxyState, ProxyAction>;
  readonly #hold = new DrainHold();
  /** False until the registration part has looked at this host's containers once. */
  #localKnown = false;
  #epoch: string | null = null;
  #planned: {
    readonly epoch: string;
    readonly revision: number;
    readonly local: number;
    readonly leavers: boolean;
    readonly running: boolean;
  } | null = null;
  #problems: readonly string[] = [];
  #failures: readonly Condition[] = [];
  #reported: readonly Condition[] = [];
  #verify = false;
  #timer: AbortController | null = null;

  constructor(options: IngressPartOptions) {
    this.#options = options;
    this.#loop = new ReconcileLoop<ProxyState, ProxyAction>(this, {
      clock: options.clock,
      resyncMs: RESYNC_MS,
      onFailure: (error, action) => this.#failed(error, action),
      onPass: (clean, actions) => this.#passed(clean, actions),
    });
    // Nothing counts as served on this host before the first pass, however long that takes.
    options.state.setApplied("ingress", 0);
    options.state.setReleased(0);
    // From the start, not from `run`: the registration part may be faster than we are.
    options.state.on("local", () => {
      this.#localKnown = true;
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const offs = (["catalog", "identity"] as const).map((topic) =>
      this.#options.state.on(topic, () => this.#loop.poke()),
    );
    await this.#loop.run(signal);
    for (const off of offs) off();
    this.#timer?.abort();
  }

  async observe(): Promise<ProxyState> {
    this.#failures = [];
    this.#planned = null;
    return await this.#options.proxy.observe();
  }

  plan(observed: ProxyState): readonly ProxyAction[] {
    const { state, settings, clock } = this.#options;
    const { identity, catalogRevision: revision } = state;
    if (identity === null) return [];
    if (this.#epoch !== identity.epoch) this.#hold.clear();
    this.#epoch = identity.epoch;
    const desired = desiredProxy(this.#endpoints(), identity.settings, settings);
    this.#problems = desired.problems;
    this.#hold.note(busyLeavers(desired, observed), revision, clock.monotonicMs());
    const leavers = observed.servers.some((server) => server.state === "maint");
    const { localRevision: local } = state;
    this.#planned = { epoch: identity.epoch, revision, local, leavers, running: observed.running };
    return planProxy(desired, observed);
  }

  async apply(action: ProxyAction): Promise<void> {
    await this.#options.proxy.apply(action);
  }

  /**
   * What to serve. A restarted agent does not yet know its own host's endpoints, and their absence must not empty the
   * HAProxy that ran on meanwhile: until they are known, the server's last word on them counts.
   */
  #endpoints(): readonly Endpoint[] {
    const { state } = this.#options;
    if (this.#localKnown) return state.endpoints();
    const name = state.identity?.hostName;
    const own = state.snapshot().endpoints.filter(({ host, origin }) => host === name && origin !== "registry");
    return [...state.endpoints(), ...own];
  }

  #failed(error: AppError, action?: ProxyAction): void {
    this.#failures = [...this.#failures, ingressFailure(error)];
    this.#options.log.warn("ingress: step failed", { error: error.message, code: error.code, action: action?.kind });
  }

  #passed(clean: boolean, actions: readonly ProxyAction[]): void {
    const { state, log } = this.#options;
    if (actions.length > 0) log.info("ingress: changed", { actions: actions.map(formatAction) });
    this.#report([...this.#failures, ...this.#problems.map(ingressProblem)]);
    if (this.#planned === null) return;
    const { epoch, revision, local, leavers, running } = this.#planned;
    // A request may have come between our look and `maint`: look again before saying that the server is out.
    const leaves = actions.some((action) => action.kind === "set-server" && action.state === "maint");
    this.#verify = leaves && !this.#verify;
    if (this.#verify) this.#loop.poke();
    const nowMs = this.#options.clock.monotonicMs();
    // A proxy that is dead and does not start serves nothing old, either: nobody needs to wait for it.
    if ((clean && !this.#verify) || (!clean && !running)) {
      state.setReleased(local);
      // Another server may have come meanwhile: a revision of the former one would be taken for one of its own.
      if (state.identity?.epoch === epoch) state.setApplied("ingress", this.#hold.served(revision, nowMs));
    }
    if (this.#hold.holds(nowMs)) this.#wakeIn(BUSY_POLL_MS);
    else if (leavers) this.#wakeIn(LEAVER_POLL_MS);
  }

  #report(conditions: readonly Condition[]): void {
    const unique = conditions.filter(
      (one, index) => conditions.findIndex((other) => other.text === one.text) === index,
    );
    const before = JSON.stringify(this.#reported);
    this.#reported = unique;
    if (JSON.stringify(unique) !== before) this.#options.state.setConditions(this.name, unique);
  }

  #wakeIn(ms: number): void {
    this.#timer?.abort();
    const timer = new AbortController();
    this.#timer = timer;
    void this.#options.clock.sleep(ms, timer.signal).then(() => {
      if (!timer.signal.aborted) this.#loop.poke();
    });
  }
}

function formatAction(action: ProxyAction): string {
  switch (action.kind) {
    case "load":
      return `load ${action.structure}`;
    case "save":
      return "save";
    case "put-map":
      return `put-map ${action.key} ${action.value}`;
    case "delete-map":
      return `delete-map ${action.key}`;
    case "set-server":
      return `set-server ${action.backend}/${action.name} ${action.state}`;
    default:
      return `${action.kind} ${action.backend}/${action.name}`;
  }
}
