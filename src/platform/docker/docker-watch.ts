import { AppError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { EngineEvent } from "../ports/engine.ts";
import type { DockerClient } from "./docker-client.ts";

/** The engine is back within a second or two of a restart: asking this often finds it without burning a core meanwhile. */
const RECONNECT_MS = 250;
/** Longest event; more than that without a line end is not the engine talking. */
const LINE_CHARACTERS_MAX = 1024 * 1024;

/** Follows the engine's events until aborted, through restarts of the engine. */
export async function watchDocker(
  engine: { readonly client: DockerClient; readonly clock: Clock },
  onEvent: (event: EngineEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await follow(engine.client, onEvent, signal);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
    }
    await engine.clock.sleep(RECONNECT_MS, signal);
  }
}

async function follow(client: DockerClient, onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
  const stream = await client.stream({
    method: "GET",
    path: "/events",
    query: { filters: JSON.stringify({ type: ["container", "network"] }) },
    attempt: { what: "follow the engine's events", object: "events" },
    signal,
  });
  const stop = (): void => void stream.destroy();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  onEvent({ kind: "lost" });
  try {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const piece of stream as AsyncIterable<Uint8Array>) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > LINE_CHARACTERS_MAX) rest = "";
      for (const line of lines) {
        const event = parseEvent(line);
        if (event !== null) onEvent(event);
      }
    }
  } catch {
    // A broken stream ends like a closed one: we connect again and say `lost`.
  } finally {
    signal.removeEventListener("abort", stop);
    stream.destroy();
  }
}

/** Reads one line of the event stream; null for what concerns nobody. */
export function parseEvent(line: string): EngineEvent | null {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof json !== "object" || json === null) return null;
  const event = json as {
    readonly Type?: string;
    readonly Action?: string;
    readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
  };
  const id = event.Actor?.ID;
  if (typeof id !== "string" || typeof event.Action !== "string") return null;
  // "exec_start: cmd" and "health_status: healthy" carry their detail behind a colon.
  const action = event.Action.split(":")[0] ?? "";
  if (event.Type === "network") return { kind: "network", action, id };
  if (event.Type !== "container") return null;
  // Every health check by command makes three of these, and they change nothing of the container.
  if (action.startsWith("exec_")) return null;
  const attributes = event.Actor?.Attributes ?? {};
  if (action === "die") return { kind: "container", action, id, exitCode: parseNumber(attributes["exitCode"]) };
  if (action === "kill") return { kind: "container", action, id, signal: parseNumber(attributes["signal"]) };
  return { kind: "container", action, id };
}

function parseNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : null;
}
