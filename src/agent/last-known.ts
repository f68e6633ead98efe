import { EMPTY_NETWORK_CONFIG } from "../model/network-config.ts";
import { AppError, describeError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { AgentPart, AgentState, LastKnown } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";

/** Raised when a field changes its meaning; a file of another form is as good as none, since a server tells all again. */
const FORM = 1;
/** A deployment changes the catalog many times a second; the disk is told at most five times. */
const SETTLE_MS = 200;
const TOPICS: readonly Topic[] = [
  "identity",
  "assignments",
  "catalog",
  "peers",
  "consul",
  "network-config",
  "holders",
  "health",
  "checks",
  "check-results",
  "link-facts",
];

/**
 * What the server last said, from the disk of this host. Null when there is nothing usable: then the agent waits for a
 * server, touching no container meanwhile. @throws AppError `unavailable` when the disk does not answer.
 */
export async function loadLastKnown(file: StateFile, log: Log): Promise<LastKnown | null> {
  const text = await file.read();
  if (text === null) return null;
  try {
    return parseLastKnown(text);
  } catch (error) {
    log.warn(`Cannot use ${file.path}: ${describeError(error)}. Starting without it: a server tells all again`);
    return null;
  }
}

export function renderLastKnown(known: LastKnown): string {
  return JSON.stringify({ form: FORM, ...known });
}

/** @throws Error for anything that this agent did not write. */
export function parseLastKnown(text: string): LastKnown {
  const json = JSON.parse(text) as Partial<LastKnown> & { readonly form?: unknown };
  if (typeof json !== "object" || json === null || json.form !== FORM) throw new Error("it has another form");
  const { identity, assignments, endpoints, hosts, peers, revision, health, networkConfig, links, holders } = json;
  const { checks, consul } = json;
  if (identity === undefined || typeof revision !== "number") throw new Error("it is not complete");
  const lists = [assignments, endpoints, hosts, peers, health ?? [], links ?? [], holders ?? [], checks ?? []];
  if (
    !lists.every((list) => Array.isArray(list) && list.every((entry) => typeof entry === "object" && entry !== null))
  ) {
    throw new Error("it is not complete");
  }
  if (
    !(assignments ?? []).every(({ instance, spec }) => typeof instance?.id === "string" && typeof spec?.id === "string")
  ) {
    throw new Error("it has an assignment without an id");
  }
  return {
    identity,
    assignments: assignments ?? [],
    endpoints: endpoints ?? [],
    hosts: hosts ?? [],
    peers: peers ?? [],
    revision,
    health: health ?? [],
    holders: holders ?? [],
    checks: checks ?? [],
    networkConfig: { ...EMPTY_NETWORK_CONFIG, ...networkConfig },
    ...(links === undefined ? {} : { links }),
    ...(consul === undefined ? {} : { consul }),
  };
}

/** Keeps the file in step with the state. */
export function createLastKnownPart(options: {
  readonly state: AgentState;
  readonly file: StateFile;
  readonly clock: Clock;
  readonly log: Log;
}): AgentPart {
  return { name: "last-known", run: (signal) => keep(options, signal) };
}

async function keep(
  {
    state,
    file,
    clock,
    log,
  }: { readonly state: AgentState; readonly file: StateFile; readonly clock: Clock; readonly log: Log },
  signal: AbortSignal,
): Promise<void> {
  let dirty = false;
  let wake = new AbortController();
  let written = renderLastKnown(state.snapshot());
  const mark = (): void => {
    dirty = true;
    wake.abort();
  };
  const stops = TOPICS.map((topic) => state.on(topic, mark));
  signal.addEventListener("abort", mark);
  const write = async (): Promise<void> => {
    dirty = false;
    const text = renderLastKnown(state.snapshot());
    if (text === written) return;
    try {
      await file.write(text);
      written = text;
      state.setConditions("last-known", []);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      log.error(error.message, { hint: error.hint });
      const hint = error.hint ?? "Free space on the disk";
      state.setConditions("last-known", [{ code: "state-not-saved", severity: "warning", text: error.message, hint }]);
      dirty = true;
    }
  };
  while (!signal.aborted) {
    if (!dirty) await clock.sleep(IDLE_MS, wake.signal);
    wake = new AbortController();
    if (!dirty) continue;
    await clock.sleep(SETTLE_MS, signal);
    await write();
  }
  for (const stop of stops) stop();
  signal.removeEventListener("abort", mark);
  await write();
}

/** Nothing happens at its end; sleeping needs some time. */
const IDLE_MS = 3_600_000;
