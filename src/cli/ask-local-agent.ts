import { AppError, describeError } from "../model/error.ts";
import type { AgentAnswer } from "../model/wire.ts";

/** Where the agent of this host answers; another path for tests and odd set-ups is APOLLO_AGENT_SOCKET. */
export const AGENT_SOCKET = "/run/apollo/agent.sock";
const ANSWER_MS_MAX = 25_000;

/** See the agent's parts for kinds and fields. */
export interface AgentQuestion {
  readonly kind: string;
  readonly [field: string]: unknown;
}

/** Asks the agent of this machine. @throws AppError */
export async function askLocalAgent<T>(
  context: { readonly env: Readonly<Record<string, string | undefined>>; readonly signal: AbortSignal },
  question: AgentQuestion,
  timeoutMs = ANSWER_MS_MAX,
): Promise<T> {
  const path = context.env["APOLLO_AGENT_SOCKET"] || AGENT_SOCKET;
  let answer: AgentAnswer;
  try {
    const response = await fetch("http://agent/query", {
      unix: path,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(question),
      signal: AbortSignal.any([context.signal, AbortSignal.timeout(timeoutMs)]),
    });
    answer = (await response.json()) as AgentAnswer;
  } catch (cause) {
    throw unreachableAgent(cause, path);
  }
  if (answer.ok) return answer.value as T;
  throw new AppError(answer.code, answer.message, answer.hint === undefined ? {} : { hint: answer.hint });
}

function unreachableAgent(cause: unknown, path: string): AppError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (code === "EACCES" || code === "EPERM") {
    return new AppError("denied", `Cannot ask the agent at ${path}: only root may`, {
      cause,
      hint: "Use sudo, or --host HOST",
    });
  }
  const late = cause instanceof Error && cause.name === "TimeoutError";
  const away = ["ECONNREFUSED", "ENOENT", "FailedToOpenSocket", "ConnectionRefused"].includes(code);
  const why = late ? "no answer in time" : away ? "it does not run" : describeError(cause);
  return new AppError("unavailable", `Cannot ask the agent of this machine at ${path}: ${why}`, {
    cause,
    hint: "Start it (systemctl start apollo-agent), or ask another host's with --host HOST",
  });
}
