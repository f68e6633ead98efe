/** One frame of the connection between agent and server, read at its edge. */
import { agentMessageShape } from "./agent-message-shape.ts";
import { AppError } from "./error.ts";
import { type AgentMessage, FRAME_BYTES_MAX, type ServerMessage, WIRE_VERSION, WIRE_VERSION_MIN } from "./wire.ts";

const AGENT_TYPES: ReadonlySet<string> = new Set([
  "hello",
  "keys",
  "heartbeat",
  "instances",
  "endpoints",
  "links",
  "link-changes",
  "holders",
  "check-results",
  "data",
  "close",
]);
const SERVER_TYPES: ReadonlySet<string> = new Set([
  "welcome",
  "assignments",
  "catalog",
  "peers",
  "peer-changes",
  "network-config",
  "blocks",
  "refused",
  "holders",
  "checks",
  "consul",
  "check-report",
  "open",
  "data",
  "resize",
  "close",
]);

/** Reads one frame from an agent; null for a type of a newer version. Throws AppError `invalid` for anything malformed. */
export function parseAgentMessage(frame: string): AgentMessage | null {
  const value = parseFrame(frame);
  if (!AGENT_TYPES.has(value.type)) return null;
  const result = agentMessageShape.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new AppError("invalid", `Cannot read "${value.type}" message: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  return result.data as AgentMessage;
}

/**
 * Reads one frame from the server; null for a type of a newer version. The server is authenticated and trusted with
 * root on this host by design, so its fields are not checked one by one, only the frame and the type.
 */
export function parseServerMessage(frame: string): ServerMessage | null {
  const value = parseFrame(frame);
  return SERVER_TYPES.has(value.type) ? (value as ServerMessage) : null;
}

function parseFrame(frame: string): { readonly type: string } {
  if (frame.length > FRAME_BYTES_MAX) {
    throw new AppError("invalid", `Cannot read message: ${frame.length} characters, at most ${FRAME_BYTES_MAX}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(frame);
  } catch (cause) {
    throw new AppError("invalid", "Cannot read message: it is not JSON", { cause });
  }
  if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") {
    throw new AppError("invalid", "Cannot read message: it has no type");
  }
  return value as { readonly type: string };
}

/** The highest version in both ranges, or null. */
export function chooseWireVersion(min: number, max: number): number | null {
  const version = Math.min(max, WIRE_VERSION);
  return version >= Math.max(min, WIRE_VERSION_MIN) ? version : null;
}
