/** Takes the checks that clients registered to the hosts they are on, and what those say back into the registry. */
import { RUN_TYPES } from "../discovery/health/parse-host-check.ts";
import { type CheckRecord, onNode } from "../discovery/registry/records.ts";
import type { RegistryParts } from "../discovery/registry/registry-parts.ts";
import { AppError } from "../model/error.ts";
import type { HostCheck, HostCheckResult } from "../model/host-check.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentHub, HostCheckSource } from "./agent-hub.ts";
import type { ClusterState } from "./cluster-state.ts";

export interface HostCheckRelayDeps {
  readonly parts: RegistryParts;
  readonly hub: Pick<AgentHub, "serveChecks" | "sendChecks" | "reportCheck">;
  readonly hosts: Pick<ClusterState, "hostByName">;
  readonly log: Log;
}

/** What could not be stored is tried again after this; the host says it only once. */
const RETRY_MS = 5000;

/** Follows the registry from now on. */
export function relayHostChecks(deps: HostCheckRelayDeps): void {
  const relay = new HostCheckRelay(deps);
  deps.hub.serveChecks(relay);
  deps.parts.checks.onDeclared((node, id, said) => {
    const host = deps.hosts.hostByName(node);
    return host !== null && deps.hub.reportCheck(host.id, { id, ...said });
  });
  deps.parts.registry.onChange(({ table, row }, before) => {
    if (table === "check") relay.follow(before as CheckRecord | null, row as CheckRecord | null);
  });
}

class HostCheckRelay implements HostCheckSource {
  readonly #deps: HostCheckRelayDeps;
  /** What hosts said last: it holds against whatever else is written into the catalog. */
  readonly #said = new Map<string, HostCheckResult>();

  constructor(deps: HostCheckRelayDeps) {
    this.#deps = deps;
  }

  checksOf(host: string): readonly HostCheck[] {
    const { registry } = this.#deps.parts;
    return registry.tables.list("check", onNode(host, "")).filter(isRun).map(hostCheckOf);
  }

  take(host: string, results: readonly HostCheckResult[]): void {
    const { tables } = this.#deps.parts.registry;
    for (const result of results) {
      const key = onNode(host, result.id);
      const known = tables.get("check", key);
      // A host speaks for the checks that it runs; one that was taken away meanwhile is none of them.
      if (known === null || !isRun(known)) continue;
      this.#said.set(key, result);
      this.#keep(known);
    }
  }

  follow(before: CheckRecord | null, row: CheckRecord | null): void {
    const check = row ?? before;
    const host = check === null ? null : this.#deps.hosts.hostByName(check.node);
    if (check === null || host === null) return;
    if (sameRun(before, row)) {
      if (row !== null) this.#keep(row);
      return;
    }
    this.#said.delete(onNode(check.node, check.id));
    const { hub } = this.#deps;
    if (row !== null && isRun(row)) hub.sendChecks(host.id, { upsert: [hostCheckOf(row)], remove: [] });
    else hub.sendChecks(host.id, { upsert: [], remove: [check.id] });
  }

  /** Writes what the host said where the registry says another thing. */
  #keep({ node, id, status, output }: CheckRecord): void {
    const key = onNode(node, id);
    const said = this.#said.get(key);
    if (said === undefined || (said.status === status && said.output === output)) return;
    const { parts, log } = this.#deps;
    parts.checks.set(node, id, { status: said.status, output: said.output }).catch((error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      log.warn("Cannot keep what a check says", { host: node, check: id, error: error.message });
      parts.registry.deadlines.after(RETRY_MS, () => {
        const now = parts.registry.tables.get("check", key);
        if (now !== null) this.#keep(now);
      });
    });
  }
}

function isRun({ type, definition }: CheckRecord): boolean {
  return RUN_TYPES.has(type) && typeof definition["Interval"] === "string";
}

function hostCheckOf({ id, type, definition, status }: CheckRecord): HostCheck {
  return { id, type, definition, status };
}

/** Whether there is nothing new for the host; also two checks that it does not run are the same to it. */
function sameRun(a: CheckRecord | null, b: CheckRecord | null): boolean {
  const [was, is] = [a !== null && isRun(a) ? a : null, b !== null && isRun(b) ? b : null];
  if (was === null || is === null) return was === is;
  return was.type === is.type && JSON.stringify(was.definition) === JSON.stringify(is.definition);
}
