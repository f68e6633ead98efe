import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import type { SocketListener, SocketOpener } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentHub } from "./agent-hub.ts";
import { frameOf } from "./agent-session.ts";

/** RFC 6455 §7.4.1: the other side broke our rules. */
const POLICY_VIOLATION = 1008;

/** Joins an authenticated agent's WebSocket to the hub. A frame that cannot be read ends the connection. */
export function agentSocket(hub: AgentHub, hostId: HostId, log: Log): SocketOpener {
  return (socket): SocketListener => {
    const session = hub.open(hostId, {
      send: (message) => void socket.send(frameOf(message)),
      close: (reason) => socket.close(POLICY_VIOLATION, reason),
    });
    // One frame is finished before the next is looked at: a hello that waits for the store must not be overtaken.
    let turn: Promise<void> = Promise.resolve();
    return {
      message: (frame) => {
        turn = turn
          .then(() => hub.receive(session, typeof frame === "string" ? frame : ""))
          .catch((error: unknown) => {
            if (!(error instanceof AppError)) throw error;
            log.warn("agent refused", { hostId, error: error.message, hint: error.hint });
            socket.close(POLICY_VIOLATION, error.message.slice(0, 120));
          });
      },
      closed: () => hub.closed(session),
    };
  };
}
