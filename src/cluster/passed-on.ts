/**
 * How an agent passes a client's request of Consul's API on to a server. The agent shows its host's credential and says what
 * its client may do without a token of its own; the client's token, if any, stays where Consul's clients put it.
 */
import type { HttpRequest } from "../platform/ports/http.ts";

/** Carries the host's credential. */
export const AGENT_HEADER = "x-apollo-agent";
export const RIGHTS_HEADER = "x-apollo-client-rights";

/** `write`: as on a machine of Consul's without ACLs. Counts only while ACLs are off. */
export type ClientRights = "none" | "read" | "write";

export interface PassedOn {
  readonly credential: string;
  readonly rights: ClientRights;
}

/** Null for a request that no agent passed on. */
export function readPassedOn(request: Pick<HttpRequest, "header">): PassedOn | null {
  const credential = request.header(AGENT_HEADER);
  if (credential === null || credential === "") return null;
  const rights = request.header(RIGHTS_HEADER);
  return { credential, rights: rights === "read" || rights === "write" ? rights : "none" };
}
