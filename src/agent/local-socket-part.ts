import { AppError, HTTP_STATUS } from "../model/error.ts";
import type { AgentAnswer } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { UnixListener } from "../platform/ports/unix-listener.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

export interface LocalSocketPartOptions {
  readonly state: AgentState;
  readonly listener: UnixListener;
  readonly clock: Clock;
  readonly log: Log;
  readonly path: string;
}

const MODE = 0o600;
const BODY_BYTES_MAX = 1024 * 1024;
/** A question may make the agent probe every path it has. */
const ANSWER_MS_MAX = 20_000;
const RETRY_MS = 1000;

/** Answers programs on this host: `POST /query` with a question as JSON, for root alone. */
export function createLocalSocketPart(options: LocalSocketPartOptions): AgentPart {
  const { state, path } = options;
  return {
    name: "local-socket",
    run: (signal) =>
      keepListening(options, signal, {
        path,
        mode: MODE,
        bodyBytesMax: BODY_BYTES_MAX,
        requestTimeoutMs: ANSWER_MS_MAX,
        handle: (request) => answer(state, request),
      }),
  };
}

/** Listens until aborted; a path that cannot be had is a condition, and is tried again. */
export async function keepListening(
  { state, listener, clock, log }: Omit<LocalSocketPartOptions, "path">,
  signal: AbortSignal,
  options: Parameters<UnixListener["listen"]>[0],
): Promise<void> {
  const part = `socket ${options.path}`;
  let told = false;
  while (!signal.aborted) {
    try {
      const socket = await listener.listen(options);
      if (told) state.setConditions(part, []);
      if (!signal.aborted) {
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      }
      await socket.close();
      return;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (!told) {
        const { message: text, hint = "" } = error;
        state.setConditions(part, [{ code: "socket-not-open", severity: "warning", text, hint }]);
        log.warn(text, { hint });
        told = true;
      }
      await clock.sleep(RETRY_MS, signal);
    }
  }
}

async function answer(state: AgentState, request: HttpRequest): Promise<HttpResponse> {
  try {
    if (request.path !== "/query" || request.method !== "POST") {
      throw new AppError("not-found", `Cannot answer ${request.method} ${request.path}: ask with POST /query`);
    }
    const question = readQuestion(await request.body());
    return json(200, { ok: true, value: await state.queries.ask(question, request.signal) });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { code, message, hint } = error;
    return json(HTTP_STATUS[code], { ok: false, code, message, ...(hint === undefined ? {} : { hint }) });
  }
}

function readQuestion(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new AppError("invalid", "Cannot read the question: it is not JSON", { cause });
  }
}

function json(status: number, value: AgentAnswer): HttpResponse {
  return { status, headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}
