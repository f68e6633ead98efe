import { rmSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { DockerEngine } from "../platform/docker/docker-engine.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { HaproxyProxy } from "../platform/haproxy/haproxy-proxy.ts";
import { readFastPathObject } from "../platform/linux/fast-path/fast-path-object.ts";
import { LinuxFastPath } from "../platform/linux/fast-path/linux-fast-path.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { BunUnixListener } from "../platform/http/bun-unix-listener.ts";
import type { UnixListener } from "../platform/ports/unix-listener.ts";
import { LinuxSegments } from "../platform/linux/linux-segments.ts";
import { LinuxWiring } from "../platform/linux/linux-wiring.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import { pinoLog } from "../platform/log/pino-log.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { ADDRESS_FILES } from "./address-books.ts";
import { ATTACH_FILES, PLUGIN_SOCKET } from "./attach-parts.ts";
import { parseAgentConfig } from "./agent-config.ts";
import type { AgentFlags } from "./agent-config.ts";
import { readMembership } from "./join.ts";
import { loadLastKnown } from "./last-known.ts";
import { leaveCluster } from "./leave.ts";
import { ResolverFile } from "./resolver-file.ts";
import { KEY_FILE } from "./host-parts.ts";
import { BPF_DIR, RUN_DIR, claimHost } from "./agent-command.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

export interface LeaveFlags extends Pick<AgentFlags, "dataDir"> {
  /** Stops instances that run here instead of refusing. */
  readonly containers?: boolean;
}

/** `apollo agent leave` on a real machine. `say` gets a line for each thing done. */
export async function leaveHost(
  flags: LeaveFlags,
  environment: Readonly<Record<string, string | undefined>>,
  say: (line: string) => void,
): Promise<void> {
  const machine = { hostName: "host", address: null };
  // The address plays no part here, and a machine without a default route may leave as well.
  const { dataDir, dockerSocket } = parseAgentConfig({ ...flags, address: "0.0.0.0" }, environment, machine);
  const membershipFile = diskFile(join(dataDir, "agent.json"));
  const membership = await readMembership(membershipFile);
  if (membership === null) {
    throw new AppError("not-found", `Cannot leave: there is no membership of a cluster in ${dataDir}`, {
      hint: "Name the agent's directory with --data-dir",
    });
  }
  const release = claimHost("Cannot leave the cluster: the agent runs");
  try {
    const lastKnownFile = diskFile(join(dataDir, "last-known.json"));
    const log = pinoLog({ name: "apollo-agent", level: "warn" });
    const known = await loadLastKnown(lastKnownFile, log);
    const runner = new ProcessRunner();
    const { range = null, range6 = null } = known?.identity?.settings ?? {};
    await leaveCluster(
      { membership, range, range6, containers: flags.containers === true },
      {
        engine: new DockerEngine({ socketPath: dockerSocket, clock: systemClock }),
        network: new LinuxHostNetwork({ runner, clock: systemClock }),
        segments: new LinuxSegments({ runner }),
        answerEngine: () => agreeWithEngine(new BunUnixListener({ clock: systemClock, log })),
        fastPath: new LinuxFastPath({ runner, directory: BPF_DIR, object: readFastPathObject }),
        wiring: new LinuxWiring({ runner }),
        proxy: new HaproxyProxy({ paths: proxyPaths(RUN_DIR), runner, clock: systemClock }),
        resolver: new ResolverFile({ dataDirectory: dataDir }),
        server: httpsJoinClient(SERVER_TLS_NAME),
        forget: () => {
          rmSync(RUN_DIR, { recursive: true, force: true });
          rmSync(PLUGIN_SOCKET, { force: true });
          const declared = [KEY_FILE, ...ADDRESS_FILES, ...ATTACH_FILES].map((name) => join(dataDir, name));
          for (const path of [...declared, lastKnownFile.path, membershipFile.path]) rmSync(path, { force: true });
          return Promise.resolve();
        },
        say,
      },
    );
  } finally {
    release();
  }
}

/** Says yes to all that the engine asks its plugin while networks go: what they stood for is taken away anyway. */
async function agreeWithEngine(listener: UnixListener): Promise<() => Promise<void>> {
  const socket = await listener.listen({
    path: PLUGIN_SOCKET,
    mode: 0o600,
    bodyBytesMax: 1024 * 1024,
    requestTimeoutMs: 10_000,
    handle: ({ path }) =>
      Promise.resolve({
        status: 200,
        headers: { "content-type": "application/vnd.docker.plugins.v1.1+json" },
        body: path.endsWith("Plugin.Activate") ? '{"Implements":["NetworkDriver","IpamDriver"]}' : "{}",
      }),
  });
  return () => socket.close();
}
