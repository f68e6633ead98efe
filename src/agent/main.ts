import { hostname } from "node:os";
import { join } from "node:path";
import { AppError } from "../model/error.ts";
import type { HostResources } from "../model/host.ts";
import type { Ipv4 } from "../model/ip.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { DockerEngine } from "../platform/docker/docker-engine.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { pinoLog } from "../platform/log/pino-log.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import { socketProber } from "../platform/probe/socket-prober.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { webSocketTransport } from "../platform/server-client/web-socket-transport.ts";
import { parseAgentConfig, SERVER_TLS_NAME } from "./agent-config.ts";
import type { AgentConfig, AgentFlags } from "./agent-config.ts";
import { startAgent } from "./agent.ts";
import type { MakeParts } from "./agent.ts";
import { joinCluster, readMembership } from "./join.ts";
import type { Membership } from "./join.ts";
import { readResources } from "./read-resources.ts";

/** What the program around the agent gives it: parts that it wires, and what it found out about the machine. */
export interface AgentSurroundings {
  readonly agentVersion: string;
  /** Address of the default route's device. */
  readonly address: Ipv4 | null;
  /** The same, looked for anew. */
  readonly findAddress?: () => Promise<Ipv4 | null>;
  /** Ranges of the machine's own routes. */
  readonly hostRanges: readonly string[];
  makeParts(config: AgentConfig, engine: Engine, log: Log): MakeParts;
}

/** Runs the agent of this host until the signal aborts; the first time it joins. @throws AppError when it cannot. */
export async function runAgent(flags: AgentFlags, around: AgentSurroundings, signal: AbortSignal): Promise<void> {
  const config = parseAgentConfig(flags, process.env, { hostName: hostname(), address: around.address });
  const log = pinoLog({ name: "apollo-agent", level: config.logLevel });
  const engine = new DockerEngine({ socketPath: config.dockerSocket, clock: systemClock });
  const resources = (): Promise<HostResources> => readResources(engine, config.dataDir);
  const membership = await findMembership(config, around, resources);
  const { address, labels } = config;
  // An address that an operator chose is the host's, whatever the routes say.
  const chosen = flags.address !== undefined || Boolean(process.env["APOLLO_ADDRESS"]);
  const moving = chosen || around.findAddress === undefined ? {} : { findAddress: around.findAddress };
  const agent = await startAgent(
    { serverUrls: membership.serverUrls, agentVersion: around.agentVersion, address, labels, ...moving },
    {
      engine,
      transport: webSocketTransport({ ...membership, serverName: SERVER_TLS_NAME }),
      prober: socketProber,
      lastKnownFile: diskFile(join(config.dataDir, "last-known.json")),
      clock: systemClock,
      random: systemRandom,
      log,
      resources,
    },
    around.makeParts(config, engine, log),
  );
  signal.addEventListener("abort", () => void agent.stop());
  if (signal.aborted) await agent.stop();
  await agent.done;
}

async function findMembership(
  config: AgentConfig,
  around: AgentSurroundings,
  resources: () => Promise<HostResources>,
): Promise<Membership> {
  const file = diskFile(join(config.dataDir, "agent.json"));
  const membership = await readMembership(file);
  if (membership !== null) return membership;
  const { serverUrl, token, name, address, labels } = config;
  if (serverUrl === null || token === null) {
    throw new AppError("invalid", "Cannot start the agent: this host has not joined a cluster yet", {
      hint: "apollo agent --server https://ADDRESS:8443 --token TOKEN, with a token from apollo host token",
    });
  }
  const wish = { serverUrl, token, name, address, labels, resources: await resources(), hostRanges: around.hostRanges };
  return joinCluster(wish, httpsJoinClient(SERVER_TLS_NAME), file);
}
