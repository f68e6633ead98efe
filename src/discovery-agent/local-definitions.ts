/** Services and checks of configuration files: registered over the process's own API, as any client would. */
import { AppError, describeError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { Definition, DiscoveryConfig } from "./discovery-config.ts";

/** Sends to the process's own API. @throws AppError `unavailable` when there is no answer. */
export type LocalApi = (
  method: string,
  path: string,
  body: unknown,
) => Promise<{ readonly status: number; readonly text: string }>;

export interface LocalDefinitionsDeps {
  readonly api: LocalApi;
  /** Remembers what earlier files registered, so that what is in none any more goes. */
  readonly file: StateFile;
  readonly clock: Clock;
  readonly log: Log;
}

interface Registered {
  readonly services: readonly string[];
  readonly checks: readonly string[];
}

const RETRY_MS = 1000;

/**
 * Registers all of it once the server can be reached, and ends when that is noted on disk. A disk that takes nothing is no
 * reason to serve less: it is tried again, and until then a restart knows less of what this process has registered.
 */
export async function registerDefinitions(
  { services, checks }: Pick<DiscoveryConfig, "services" | "checks">,
  deps: LocalDefinitionsDeps,
  signal: AbortSignal,
): Promise<void> {
  const before = parseRegistered(await deps.file.read());
  const now: Registered = { services: services.map(serviceId), checks: checks.map(checkId) };
  const gone = [
    ...before.services
      .filter((id) => !now.services.includes(id))
      .map((id) => `service/deregister/${encodeURIComponent(id)}`),
    ...before.checks.filter((id) => !now.checks.includes(id)).map((id) => `check/deregister/${encodeURIComponent(id)}`),
  ];
  const isChanged = JSON.stringify(before) !== JSON.stringify(now);
  // Noted first: a process that dies in between takes away too much the next time rather than too little.
  if (isChanged) await note(deps, union(before, now));
  for (const path of gone) await send(deps, { path, body: undefined, mayBeGone: true }, signal);
  for (const body of services) await send(deps, { path: "service/register", body, mayBeGone: false }, signal);
  for (const body of checks) await send(deps, { path: "check/register", body, mayBeGone: false }, signal);
  if (isChanged) while (!signal.aborted && !(await note(deps, now))) await deps.clock.sleep(RETRY_MS, signal);
}

/** Whether the disk took it. */
async function note({ file, log }: LocalDefinitionsDeps, registered: Registered): Promise<boolean> {
  try {
    await file.write(`${JSON.stringify(registered)}\n`);
    return true;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    log.warn(error.message, { hint: error.hint });
    return false;
  }
}

interface Sending {
  readonly path: string;
  readonly body: unknown;
  readonly mayBeGone: boolean;
}

async function send(
  { api, clock, log }: LocalDefinitionsDeps,
  { path, body, mayBeGone }: Sending,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const answer = await api("PUT", `/v1/agent/${path}`, body).catch(unavailable);
    if (answer.status === 200 || (mayBeGone && answer.status === 404)) return;
    if (answer.status >= 400 && answer.status < 500) {
      log.error(`Cannot register a definition of the configuration: ${answer.text.trim()}`, { path });
      return;
    }
    await clock.sleep(RETRY_MS, signal);
  }
}

function unavailable(error: unknown): { readonly status: number; readonly text: string } {
  if (error instanceof AppError) return { status: 503, text: describeError(error) };
  throw error;
}

function union(a: Registered, b: Registered): Registered {
  return { services: [...new Set([...a.services, ...b.services])], checks: [...new Set([...a.checks, ...b.checks])] };
}

function parseRegistered(text: string | null): Registered {
  try {
    const json = JSON.parse(text ?? "{}") as { readonly services?: unknown; readonly checks?: unknown };
    return { services: textsOf(json.services), checks: textsOf(json.checks) };
  } catch {
    return { services: [], checks: [] };
  }
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : [];
}

/** As the API takes an id, else the name. */
function serviceId(definition: Definition): string {
  return field(definition, "id") || field(definition, "name");
}

function checkId(definition: Definition): string {
  return field(definition, "checkid") || field(definition, "id") || field(definition, "name");
}

/** Field names count in any case, and underscores do not count. */
function field(definition: Definition, name: string): string {
  const found = Object.entries(definition).find(([key]) => key.toLowerCase().replaceAll("_", "") === name);
  return typeof found?.[1] === "string" ? found[1] : "";
}
