import { mkdirSync } from "node:fs";
import type { AgentFlags } from "./agent-config.ts";
import { hostParts } from "./host-parts.ts";
import { observeSurroundings } from "./host-surroundings.ts";
import { runAgent } from "./main.ts";

/** HAProxy's configuration and socket; lost with a reboot, like HAProxy itself. */
const RUN_DIR = "/run/apollo";

/** `apollo agent` on a real machine: runs until `signal` aborts. */
export async function runHostAgent(flags: AgentFlags, signal: AbortSignal, version: string): Promise<void> {
  mkdirSync(RUN_DIR, { recursive: true, mode: 0o755 });
  const surroundings = await observeSurroundings(flags.server ?? process.env["APOLLO_SERVER"]);
  await runAgent(
    flags,
    {
      ...surroundings,
      agentVersion: version,
      makeParts: (config, engine, log) => hostParts({ engine, log, dataDir: config.dataDir, runDir: RUN_DIR }),
    },
    signal,
  );
}
