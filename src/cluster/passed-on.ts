/**
 * How an agent passes a client's request of Consul's API on to a server. The agent shows its host's credential and says what
 * its client may do without a token of its own; the client's token, if any, stays where Consul's clients put it.
 */
import type { ScriptChecks } from "../model/host-check.ts";
import type { HttpRequest } from "../platform/ports/http.ts";

/** Carries the host's credential. */
export const AGENT_HEADER = "x-apollo-agent";
export const RIGHTS_HEADER = "x-apollo-client-rights";
/** What the host runs of the scripts that the request may register. */
export const SCRIPTS_HEADER = "x-apollo-scripts";

/** `write`: as on a machine of Consul's without ACLs. Counts only while ACLs are off. */
export type ClientRights = "none" | "read" | "write";

export interface PassedOn {
  readonly credential: string;
  readonly rights: ClientRights;
  /** Null: that agent does not say. */
  readonly scripts: ScriptChecks | null;
}

/** Null for a request that no agent passed on. */
export function readPassedOn(request: Pick<HttpRequest, "header">): PassedOn | null {
  const credential = request.header(AGENT_HEADER);
  if (credential === null || credential === "") return null;
  const rights = request.header(RIGHTS_HEADER);
  const scripts = request.header(SCRIPTS_HEADER);
  return {
    credential,
    rights: rights === "read" || rights === "write" ? rights : "none",
    scripts: scripts === "off" || scripts === "local" || scripts === "all" ? scripts : null,
  };
}
