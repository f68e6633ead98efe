import type { Endpoint } from "../model/endpoint.ts";
import type { Holder } from "../model/holder.ts";
import type { HostCheckResult } from "../model/host-check.ts";
import type { InstanceId } from "../model/ids.ts";
import type { InstanceReport, InstanceStatus } from "../model/instance.ts";
import type { AgentMessage } from "../model/wire.ts";
import type { AgentState } from "./agent-state.ts";

/** The server refuses longer lists, and a frame of this many is still small. */
const ENTRIES_MAX = 5000;
/** Each may carry 4 KiB of output: 4 MiB a frame. */
const RESULTS_MAX = 1000;

/**
 * What this connection has told the server so far, and so what is left to tell. The first message of a kind replaces
 * what the server knew; until this host's truth is known none is sent, since an empty one would take it all away.
 */
export class DeltaSender {
  readonly #state: AgentState;
  readonly #send: (message: AgentMessage) => void;
  #reports: Map<InstanceId, InstanceStatus> | null = null;
  #endpoints: Map<string, string> | null = null;
  #holders: Map<string, Holder> | null = null;
  #checkResults: ReadonlyMap<string, HostCheckResult> = new Map();

  constructor(state: AgentState, send: (message: AgentMessage) => void) {
    this.#state = state;
    this.#send = send;
  }

  flush(): void {
    if (this.#state.reportsKnown) this.#flushReports();
    if (this.#state.localKnown) {
      this.#flushEndpoints();
      this.#flushHolders();
    }
    this.#flushCheckResults();
  }

  /** What they said before is said again on a new connection: the server may have been another then. */
  #flushCheckResults(): void {
    const now = this.#state.checkResults;
    const results = [...now.values()].filter((result) => this.#checkResults.get(result.id) !== result);
    this.#checkResults = new Map(now);
    for (let at = 0; at < results.length; at += RESULTS_MAX)
      this.#send({ type: "check-results", results: results.slice(at, at + RESULTS_MAX) });
  }

  #flushReports(): void {
    const now = this.#state.reports;
    const before = this.#reports ?? new Map<InstanceId, InstanceStatus>();
    // A status is replaced, never changed, so the same object says the same.
    const upsert = [...now]
      .filter(([id, status]) => before.get(id) !== status)
      .map(([id, status]): InstanceReport => ({ id, status }));
    const remove = [...before.keys()].filter((id) => !now.has(id));
    const reset = this.#reports === null;
    this.#reports = new Map(now);
    for (const part of split({ reset, upsert, remove })) this.#send({ type: "instances", ...part });
  }

  #flushEndpoints(): void {
    const now = new Map([...this.#state.localEndpoints()].map(([id, endpoint]) => [id, JSON.stringify(endpoint)]));
    const before = this.#endpoints ?? new Map<string, string>();
    const upsert: Endpoint[] = [];
    for (const [id, endpoint] of this.#state.localEndpoints())
      if (before.get(id) !== now.get(id)) upsert.push(endpoint);
    const remove = [...before.keys()].filter((id) => !now.has(id));
    const reset = this.#endpoints === null;
    this.#endpoints = now;
    for (const part of split({ reset, upsert, remove })) this.#send({ type: "endpoints", ...part });
  }

  #flushHolders(): void {
    const now = new Map(this.#state.localHolders().map((holder) => [holder.id, holder]));
    const before = this.#holders ?? new Map<string, Holder>();
    // One that did not change is the same object.
    const upsert = [...now.values()].filter((holder) => before.get(holder.id) !== holder);
    const remove = [...before.keys()].filter((id) => !now.has(id));
    const reset = this.#holders === null;
    this.#holders = now;
    for (const part of split({ reset, upsert, remove })) this.#send({ type: "holders", ...part });
  }
}

interface Delta<Entry, Id> {
  readonly reset: boolean;
  readonly upsert: readonly Entry[];
  readonly remove: readonly Id[];
}

function split<Entry, Id>({ reset, upsert, remove }: Delta<Entry, Id>): readonly Delta<Entry, Id>[] {
  if (!reset && upsert.length === 0 && remove.length === 0) return [];
  const parts: Delta<Entry, Id>[] = [];
  for (let at = 0; at === 0 || at < upsert.length || at < remove.length; at += ENTRIES_MAX) {
    const end = at + ENTRIES_MAX;
    parts.push({ reset: reset && at === 0, upsert: upsert.slice(at, end), remove: remove.slice(at, end) });
  }
  return parts;
}
