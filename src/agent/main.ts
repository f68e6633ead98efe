import { hostname } from "node:os";
import { join } from "node:path";
import type { JoinExamination } from "../cluster/check-join.ts";
import { AppError } from "../model/error.ts";
import type { HostResources } from "../model/host.ts";
import type { HostAddress } from "../model/ip6.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { HostCheckRunner } from "../platform/checks/host-check-runner.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { DockerEngine } from "../platform/docker/docker-engine.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { pinoLog } from "../platform/log/pino-log.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import { socketProber } from "../platform/probe/socket-prober.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { webSocketTransport } from "../platform/server-client/web-socket-transport.ts";
import { parseAgentConfig } from "./agent-config.ts";
import type { AgentConfig, AgentFlags } from "./agent-config.ts";
import { startAgent } from "./agent.ts";
import { ADDRESS_FILES } from "./address-books.ts";
import type { MakeParts } from "./agent.ts";
import type { AgentState } from "./agent-state.ts";
import { findMembership, markRemoved } from "./find-membership.ts";
import type { Membership } from "./join.ts";
import { readResources } from "./read-resources.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

/** What the program around the agent gives it: parts that it wires, and what it found out about the machine. */
export interface AgentSurroundings {
  readonly agentVersion: string;
  /** Address of the default route's device. */
  readonly address: HostAddress | null;
  /** The same, looked for anew. */
  readonly findAddress?: () => Promise<HostAddress | null>;
  /** Ranges of the machine's own routes. */
  readonly hostRanges: readonly string[];
  makeParts(config: AgentConfig, engine: Engine, log: Log, membership: Membership): MakeParts;
  /** What is not well with this machine; asked before a join. */
  examine(config: AgentConfig, engine: Engine): Promise<JoinExamination["findings"]>;
}

/** Runs the agent of this host until the signal aborts; the first time it joins. @throws AppError when it cannot. */
export async function runAgent(flags: AgentFlags, around: AgentSurroundings, signal: AbortSignal): Promise<void> {
  const config = parseAgentConfig(flags, process.env, { hostName: hostname(), address: around.address });
  const log = pinoLog({ name: "apollo-agent", level: config.logLevel });
  const engine = new DockerEngine({ socketPath: config.dockerSocket, clock: systemClock });
  const resources = (): Promise<HostResources> => readResources(engine, config.dataDir);
  const { dataDir, address, labels } = config;
  const file = diskFile(join(dataDir, "agent.json"));
  const client = httpsJoinClient(SERVER_TLS_NAME);
  const membership = await findMembership(config, {
    file,
    client,
    resources,
    hostRanges: around.hostRanges,
    examine: async () => ({
      clockMs: systemClock.nowMs(),
      findings: await around.examine(config, engine),
      force: flags.force === true,
    }),
  });
  const { serverUrls, hostId } = membership;
  // An address that an operator chose is the host's, whatever the routes say.
  const chosen = flags.address !== undefined || Boolean(process.env["APOLLO_ADDRESS"]);
  const moving = chosen || around.findAddress === undefined ? {} : { findAddress: around.findAddress };
  const agent = await startAgent(
    { serverUrls, agentVersion: around.agentVersion, address, labels, hostId, ...moving },
    {
      engine,
      transport: webSocketTransport({ ...membership, serverName: SERVER_TLS_NAME }),
      prober: socketProber,
      checkRunner: new HostCheckRunner({ engine, allowsScript: () => config.scriptChecks }),
      lastKnownFile: diskFile(join(dataDir, "last-known.json")),
      addressFile: diskFile(join(dataDir, ADDRESS_FILES[0])),
      networkFile: diskFile(join(dataDir, ADDRESS_FILES[1])),
      clock: systemClock,
      random: systemRandom,
      log,
      resources,
    },
    around.makeParts(config, engine, log, membership),
  );
  const marked = onRemoved(agent.state, () =>
    markRemoved(membership, file).catch((error: unknown) => noteFault(error, log)),
  );
  signal.addEventListener("abort", () => void agent.stop());
  if (signal.aborted) await agent.stop();
  await agent.done;
  await marked();
}

/** The next start then asks the server once more, and hears the same. */
function noteFault(error: unknown, log: Log): void {
  if (!(error instanceof AppError)) throw error;
  log.error(error.message, { hint: error.hint });
}

/** Runs `task` once when the cluster ends the membership; the returned function waits for it. */
function onRemoved(state: AgentState, task: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  state.on("connection", () => {
    if (state.isRemoved()) running ??= task();
  });
  return async () => running ?? undefined;
}
