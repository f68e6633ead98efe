import { REGISTRY, cgroupOf } from "./lab-plan.ts";
import { withLogTail } from "./log-tail.ts";
import { execInHost, startDaemon, writeInNode } from "./node-command.ts";
import { waitFor } from "./wait-for.ts";

const ENGINE_TIMEOUT_MS = 60_000;

/** Settings of a host's engine, as its /etc/docker/daemon.json. `extra` wins: it is how a test sets a bridge of its own. */
export function renderEngineConfig(lab: string, node: string, extra: Readonly<Record<string, unknown>>): string {
  const config = {
    "insecure-registries": [REGISTRY],
    // Containers of different hosts share the machine's cgroup tree and must not meet there.
    "cgroup-parent": `/${cgroupOf(lab, node)}`,
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "log-opts": { "max-size": "10m", "max-file": "2" },
    ...extra,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Starts Docker in a host that is on, and waits until it answers. */
export async function startEngine(
  lab: string,
  node: string,
  options: {
    readonly config: Readonly<Record<string, unknown>>;
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((text: string) => void) | undefined;
  },
): Promise<void> {
  writeInNode(lab, node, "/etc/docker/daemon.json", renderEngineConfig(lab, node, options.config));
  await withLogTail(
    lab,
    () => [`${node}-dockerd`],
    async () => {
      await startDaemon(lab, node, { log: "dockerd", argv: ["dockerd"] });
      await waitFor(async () => (await execInHost(lab, node, ["docker", "version"], { timeoutMs: 5000 })).code === 0, {
        what: `the engine of ${node}`,
        timeoutMs: ENGINE_TIMEOUT_MS,
        intervalMs: 200,
        signal: options.signal,
        onProgress: options.onProgress,
      });
    },
  );
}
