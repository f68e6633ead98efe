import type { Host } from "../model/host.ts";
import type { InstanceId } from "../model/ids.ts";
import type { Assignment } from "../model/instance.ts";
import type { ServerMessage } from "../model/wire.ts";
import { WIRE_VERSION_MIN } from "../model/wire.ts";

/** The way to one agent: a WebSocket, or the simulator's network. */
export interface AgentConnection {
  send(message: ServerMessage): void;
  close(reason: string): void;
}

/** What this server has told one agent so far, so that only differences are sent. */
export class AgentSession {
  readonly hostId: Host["id"];
  readonly connection: AgentConnection;
  /** False until `hello` was answered: nothing but `welcome` may come first. */
  ready = false;
  closed = false;
  /** `ClusterState.instanceChanges` as of the last sending. */
  instanceChanges = -1;
  /** The wire version that both speak. */
  wire = WIRE_VERSION_MIN;
  /** The run of the agent behind it; null for agents that do not say. */
  runId: string | null = null;
  /** Frames taken: a session that is being doubted shows by it that it lives. */
  heard = 0;
  /** What it was told last of its blocks, as text. */
  blocks = "";
  /** Catalog revision that was sent last. */
  catalogRevision = 0;
  readonly #sent = new Map<InstanceId, Assignment>();

  constructor(hostId: Host["id"], connection: AgentConnection) {
    this.hostId = hostId;
    this.connection = connection;
  }

  /** Sends what differs from the last time; `reset` sends all. */
  sendAssignments(wanted: ReadonlyMap<InstanceId, Assignment>, reset: boolean): void {
    const upsert = [...wanted.values()].filter((assignment) => {
      const before = reset ? undefined : this.#sent.get(assignment.instance.id);
      return before?.instance !== assignment.instance;
    });
    const remove = reset ? [] : [...this.#sent.keys()].filter((id) => !wanted.has(id));
    if (!reset && upsert.length === 0 && remove.length === 0) return;
    if (reset) this.#sent.clear();
    for (const id of remove) this.#sent.delete(id);
    for (const assignment of upsert) this.#sent.set(assignment.instance.id, assignment);
    this.connection.send({ type: "assignments", reset, upsert, remove });
  }
}

const frames = new WeakMap<ServerMessage, string>();

/** A message as text; one that goes to a thousand agents is written once. */
export function frameOf(message: ServerMessage): string {
  const known = frames.get(message);
  if (known !== undefined) return known;
  const frame = JSON.stringify(message);
  frames.set(message, frame);
  return frame;
}
