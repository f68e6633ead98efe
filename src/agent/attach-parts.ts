import { join } from "node:path";
import type { Engine } from "../platform/ports/engine.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { UnixListener } from "../platform/ports/unix-listener.ts";
import type { Wiring } from "../platform/ports/wiring.ts";
import type { AddressSource } from "../network/address-source.ts";
import type { LocalPort } from "../network/local-port.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { BridgeFor } from "./local-network.ts";
import { AttachPart } from "./attach-part.ts";
import { registerAttachQueries } from "./attach-queries.ts";
import { registerCniQueries } from "./cni-queries.ts";
import { DockerPlugin } from "./docker-plugin.ts";
import { createDockerPluginPart } from "./docker-plugin-part.ts";

export interface AttachPartsOptions {
  readonly state: AgentState;
  readonly engine: Pick<Engine, "listContainers" | "inspectContainer" | "watch">;
  readonly wiring: Wiring;
  readonly listener: UnixListener;
  readonly clock: Clock;
  readonly log: Log;
  readonly bridgeFor: BridgeFor;
  readonly book: AddressSource;
  readonly dataDir: string;
  readonly fileAt: (path: string) => StateFile;
  /** Of the engine's plugin. */
  readonly pluginSocket: string;
}

/** Docker finds the plugin of driver "apollo" by this path; it looks there anew for each driver that it does not know. */
export const PLUGIN_SOCKET = "/run/docker/plugins/apollo.sock";
const [ATTACHMENTS, PLUGIN] = ["attachments.json", "docker-plugin.json"];
/** In the agent's data directory. */
export const ATTACH_FILES: readonly string[] = [ATTACHMENTS, PLUGIN];

/** Attachments, the engine's plugin and CNI: all that wires containers which the agent did not start itself. */
export function createAttachParts(options: AttachPartsOptions): {
  readonly parts: readonly AgentPart[];
  /** Null until all wires that are there were looked at. */
  readonly wiredPorts: () => readonly LocalPort[] | null;
} {
  const { state, engine, wiring, clock, log, bridgeFor, book, listener, fileAt, dataDir } = options;
  const file = fileAt(join(dataDir, ATTACHMENTS));
  const attach: AttachPart = new AttachPart({ state, engine, wiring, book, file, clock, log, bridgeFor });
  registerAttachQueries({ state, part: attach, engine, wiring, bridgeFor });
  registerCniQueries({ state, part: attach, wiring, bridgeFor });
  const plugin = new DockerPlugin({ wiring, book, bridgeFor, file: fileAt(join(dataDir, PLUGIN)) });
  const docker = createDockerPluginPart({
    state,
    plugin,
    attach,
    wiring,
    book,
    bridgeFor,
    listener,
    clock,
    log,
    path: options.pluginSocket,
  });
  return {
    parts: [attach, docker],
    wiredPorts: () => {
      const [declared, endpoints] = [attach.wiredPorts(), docker.wiredPorts()];
      return declared === null || endpoints === null ? null : [...declared, ...endpoints];
    },
  };
}
