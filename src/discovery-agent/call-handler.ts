import { AppError, describeError } from "../model/error.ts";
import type { Runner } from "../platform/ports/runner.ts";
import type { WatchHandler } from "./parse-watch.ts";

/** A handler that hangs would else hold up its watch for ever. */
const SCRIPT_TIMEOUT_MS = 300_000;

interface Told {
  /** JSON. */
  readonly body: string;
  /** Of the answer that it is. */
  readonly index: string;
}

/** Hands the JSON to a script (on its standard input, with CONSUL_INDEX) or a web hook. @throws AppError when it fails. */
export async function callHandler(runner: Runner, handler: WatchHandler, { body, index }: Told): Promise<void> {
  if (handler.kind === "script") {
    await runner.run(handler.argv, { stdin: body, env: { CONSUL_INDEX: index }, timeoutMs: SCRIPT_TIMEOUT_MS });
    return;
  }
  const { url, method, headers, timeoutMs, skipVerify } = handler;
  const sent = new Headers({ "content-type": "application/json", "x-consul-index": index });
  for (const [name, values] of Object.entries(headers)) for (const value of values) sent.append(name, value);
  const answer = await fetch(url, {
    method,
    body,
    headers: sent,
    signal: AbortSignal.timeout(timeoutMs),
    tls: { rejectUnauthorized: !skipVerify },
  } as RequestInit).catch((cause: unknown) => {
    throw new AppError("unavailable", `Cannot call ${url}: ${describeError(cause)}`, { cause });
  });
  if (!answer.ok) throw new AppError("unavailable", `Cannot call ${url}: it answers with status ${answer.status}`);
}
