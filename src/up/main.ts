import type { ServerFlags } from "../server/main.ts";

export async function runUp(_flags: ServerFlags, _signal: AbortSignal, _version: string): Promise<void> {
  throw new Error("wired with the agent");
}
