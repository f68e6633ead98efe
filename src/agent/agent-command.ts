import { mkdirSync, readFileSync } from "node:fs";
import { AppError, describeError } from "../model/error.ts";
import { claimLock } from "../platform/files/process-lock.ts";
import type { AgentFlags } from "./agent-config.ts";
import { examineMachine } from "./examine-machine.ts";
import { hostParts } from "./host-parts.ts";
import { observeSurroundings } from "./host-surroundings.ts";
import { runAgent } from "./main.ts";

/** HAProxy's configuration and socket; lost with a reboot, like HAProxy itself. */
export const RUN_DIR = "/run/apollo";

/** Where the fast path's programs are kept; a reboot empties it, as it empties the kernel. */
export const BPF_DIR = `${RUN_DIR}/bpf`;

/** `apollo agent` on a real machine: runs until `signal` aborts. */
export async function runHostAgent(flags: AgentFlags, signal: AbortSignal, version: string): Promise<void> {
  const release = claimHost("Cannot start the agent: one runs on this machine");
  try {
    const surroundings = await observeSurroundings(flags.server ?? process.env["APOLLO_SERVER"]);
    await runAgent(
      flags.tokenFile === undefined ? flags : { ...flags, token: readTokenFile(flags.tokenFile) },
      {
        ...surroundings,
        agentVersion: version,
        examine: examineMachine,
        makeParts: (
          { dataDir, keyRotationDays, fastPath, consul, scriptChecks, serviceTags },
          engine,
          log,
          { credential, caPem },
        ) =>
          hostParts({
            engine,
            log,
            dataDir,
            keyRotationDays,
            runDir: RUN_DIR,
            fastPath,
            serviceTags,
            consul: { access: consul, scriptChecks, credential, caPem, version },
          }),
      },
      signal,
    );
  } finally {
    release();
  }
}

function readTokenFile(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    throw new AppError("invalid", `Cannot read the join token from "${path}": ${describeError(cause)}`, {
      cause,
      hint: 'Write the output of "apollo host token" there',
    });
  }
}

/** One process at a time may change this host. Returns what gives it free. @throws AppError `conflict`. */
export function claimHost(refusal: string): () => void {
  mkdirSync(RUN_DIR, { recursive: true, mode: 0o755 });
  const lock = claimLock(`${RUN_DIR}/agent.pid`);
  if (lock.kind === "claimed") return () => lock.release();
  throw new AppError("conflict", `${refusal} (pid ${lock.pid})`, {
    hint: `Stop it first: systemctl stop apollo-agent, or kill ${lock.pid}`,
  });
}
