import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AgentFlags } from "../agent/agent-config.ts";
import { runHostAgent } from "../agent/agent-command.ts";
import { loadServerConfig, openServer, type ServerFlags } from "../server/main.ts";

export type UpFlags = ServerFlags & {
  readonly name?: string;
  readonly address?: string;
  readonly label?: readonly string[];
  readonly fastPath?: boolean;
  readonly consul?: string;
};

/**
 * `apollo up`: a server and an agent in one process. The agent joins and talks to the server as any other would, over TLS on
 * loopback, so that one host and many behave alike.
 */
export async function runUp(flags: UpFlags, signal: AbortSignal, version: string): Promise<void> {
  const { name, address, label, fastPath, consul, ...serverFlags } = flags;
  const loaded = loadServerConfig(serverFlags, version);
  // Consul's clients find one API on this host: its agent's, unless the operator gave the server a port of its own.
  const config =
    loaded.consul.listenIsGiven || consul === "off"
      ? loaded
      : { ...loaded, consul: { ...loaded.consul, listen: null } };
  // The agent ends first: what it says last still reaches the server.
  const serverEnd = new AbortController();
  const server = await openServer(config, serverEnd.signal);
  console.error(`Apollo ${version}: console at ${server.url}/ui/, admin token in ${server.adminFile}`);
  try {
    const agentFlags: AgentFlags = {
      server: `https://127.0.0.1:${config.port}`,
      token: readFileSync(join(config.dataDir, "join-token"), "utf8").trim(),
      dataDir: config.dataDir,
      enableScriptChecks: config.consul.scripts,
      ...(name === undefined ? {} : { name }),
      ...(address === undefined ? {} : { address }),
      ...(label === undefined ? {} : { label }),
      ...(fastPath === undefined ? {} : { fastPath }),
      ...(consul === undefined ? {} : { consul }),
    };
    await runHostAgent(agentFlags, signal, version);
  } finally {
    serverEnd.abort();
    await server.close();
  }
}
