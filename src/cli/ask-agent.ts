import type { Command } from "commander";
import { type AgentQuestion, askLocalAgent } from "./ask-local-agent.ts";
import { type CliContext, type ClientFlags, openSession } from "./cli-context.ts";

export interface AskFlags extends ClientFlags {
  readonly host?: string;
}

/**
 * Asks an agent: that of `--host` through the server, else the one of this machine over its socket.
 * @throws AppError as the agent says, `unavailable` when it does not answer, `denied` for users who may not ask.
 */
export async function askAgent<T>(context: CliContext, command: Command, question: AgentQuestion): Promise<T> {
  const { host } = command.optsWithGlobals<AskFlags>();
  if (host === undefined) return await askLocalAgent<T>(context, question);
  const { client } = openSession(context, command);
  const path = `/api/hosts/${encodeURIComponent(host)}/query`;
  return await client.request<T>("POST", path, { body: question });
}
