import type { InstanceJson } from "../api/native/shapes.ts";
import { instanceState } from "./app-tally.ts";
import { FIRST_PAGE, formatPageState } from "./page-state.ts";
import type { SearchFields } from "./search-query.ts";

/** What a person reads of an instance's state: "healthy", "running", "staging", "draining". */
export function formatInstanceState(instance: InstanceJson): string {
  const state = instanceState(instance);
  if (state === "ready") return instance.health === "healthy" ? "healthy" : "running";
  if (state === "starting") return instance.phase === "running" ? "checking" : instance.phase;
  if (state === "leaving") return instance.phase === "running" ? instance.goal : instance.phase;
  return state;
}

export function instanceSearch(instance: InstanceJson): SearchFields {
  return {
    app: instance.app,
    host: instance.host,
    address: instance.address,
    id: instance.id,
    health: instance.health,
    state: [formatInstanceState(instance), instance.phase],
    version: instance.version,
  };
}

export function hostHref(name: string): string {
  return formatPageState({ ...FIRST_PAGE, selection: { kind: "host", key: name } });
}

export function instanceHref(id: string): string {
  return formatPageState({ ...FIRST_PAGE, selection: { kind: "instance", key: id } });
}

/** "10.2.1.7:8080"; the first port stands for all. */
export function formatAddress(instance: InstanceJson): string {
  const port = instance.ports[0];
  return port === undefined ? (instance.address ?? "") : `${instance.address ?? ""}:${port}`;
}
