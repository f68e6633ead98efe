import type { AgentIdentity } from "../agent/agent-state.ts";
import { AgentState } from "../agent/agent-state.ts";
import type { AppSpec } from "../model/app.ts";
import { DEFAULT_BACKOFF, DEFAULT_STOP_GRACE_MS, DEFAULT_UPGRADE } from "../model/app.ts";
import { type ClusterSettings, DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { HostId, InstanceId, Version } from "../model/ids.ts";
import { instanceIdFor, parseAppId } from "../model/ids.ts";
import type { Assignment, InstanceGoal } from "../model/instance.ts";
import type { ContainerSpec } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";

/** An app with every default, as tests want it. */
export function appSpec(change: Partial<AppSpec> = {}): AppSpec {
  return {
    id: parseAppId("/web"),
    instances: 1,
    cpus: 0.1,
    memoryMiB: 32,
    diskMiB: 0,
    image: "web:1",
    forcePull: false,
    privileged: false,
    argv: null,
    shell: false,
    user: null,
    tty: false,
    network: "apollo",
    ports: [],
    volumes: [],
    env: {},
    labels: {},
    healthChecks: [],
    upgrade: DEFAULT_UPGRADE,
    backoff: DEFAULT_BACKOFF,
    constraints: [],
    dependencies: [],
    killSelection: "YOUNGEST_FIRST",
    stopGraceMs: DEFAULT_STOP_GRACE_MS,
    ...change,
  };
}

export function assignmentOf(
  uuid: string,
  change: { readonly goal?: InstanceGoal; readonly spec?: Partial<AppSpec> } = {},
): Assignment {
  const spec = appSpec(change.spec);
  return {
    instance: {
      id: instanceIdFor(spec.id, uuid),
      appId: spec.id,
      version: "2026-01-01T00:00:00.000Z" as Version,
      hostId: "h1" as HostId,
      createdAtMs: 0,
      goal: change.goal ?? "running",
    },
    spec,
  };
}

/** Hosts of tests have addresses of the documentation ranges, which no cluster trusts by itself. */
export const OPEN_SETTINGS: ClusterSettings = { ...DEFAULT_SETTINGS, encryption: "off" };

export const IDENTITY: AgentIdentity = {
  hostId: "h1" as HostId,
  hostName: "alpha",
  settings: OPEN_SETTINGS,
  blocks: ["10.2.1.0/24"],
  epoch: "e1",
};

/** A state as it is once a server has said who this host is. */
export function joinedState(): AgentState {
  const state = new AgentState();
  state.identity = IDENTITY;
  return state;
}

/** What a server sends when its wishes change. */
export function assign(state: AgentState, upsert: readonly Assignment[], remove: readonly InstanceId[] = []): void {
  state.receive({ type: "assignments", reset: false, upsert, remove });
}

/** A container as plain as it can be, on the host's network. */
export function containerSpec(change: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    name: "plain",
    image: "web:1",
    argv: null,
    entrypoint: null,
    env: {},
    labels: {},
    user: null,
    tty: false,
    privileged: false,
    cpus: 0.1,
    memoryBytes: 32 * 1024 * 1024,
    hostname: null,
    network: "host",
    address: null,
    dns: [],
    dnsSearch: [],
    exposedPorts: [],
    publish: [],
    mounts: [],
    stopGraceMs: 0,
    restart: "no",
    ...change,
  };
}

export interface RecordingLog extends Log {
  readonly lines: string[];
}

export function recordingLog(): RecordingLog {
  const lines: string[] = [];
  const write =
    (level: string) =>
    (message: string): void =>
      void lines.push(`${level} ${message}`);
  return { lines, debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}
