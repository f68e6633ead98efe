import type { AgentIdentity } from "../agent/agent-state.ts";
import { AgentState } from "../agent/agent-state.ts";
import type { AppSpec } from "../model/app.ts";
import { type ClusterSettings, DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { HostId, InstanceId, Version } from "../model/ids.ts";
import { instanceIdFor } from "../model/ids.ts";
import type { Assignment, InstanceGoal } from "../model/instance.ts";
import type { Log } from "../platform/ports/log.ts";
import { sampleSpec } from "../scheduling/sample-cluster.ts";

/** An app with every default, as tests want it. */
export function appSpec(change: Partial<AppSpec> = {}): AppSpec {
  return { ...sampleSpec("/web", { image: "web:1" }), ...change };
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
