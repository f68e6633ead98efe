/** Who may do what over Consul's API: the platform's access control first, then Consul's own tokens. */
import type { Caller } from "../api/consul/backend.ts";
import { type AccessControl, isFromThisMachine, type Principal } from "../cluster/access.ts";
import { accessRequestOf } from "../cluster/credentials.ts";
import type { AclResolver } from "../discovery/registry/acl/acl-resolver.ts";
import { Grants } from "../discovery/registry/acl/grants.ts";
import type { Rule } from "../discovery/registry/acl/parse-rules.ts";
import { registryError } from "../discovery/registry/registry-error.ts";
import { readPassedOn, type PassedOn } from "../cluster/passed-on.ts";
import type { HttpRequest } from "../platform/ports/http.ts";

export interface ConsulAccessDeps {
  readonly access: AccessControl;
  readonly resolver: AclResolver;
  readonly aclEnabled: boolean;
  /** Name of the host with that credential. */
  readonly hostName: (principal: Principal) => string | null;
  /** Whether programs on a host may remove dead members without a token, as on a machine of Consul's. */
  readonly clientsRemoveMembers: boolean;
  /** Whether the host of that name is one of several servers: programs on it may do what they may on the only one. */
  readonly isServer: (host: string) => boolean;
}

const EVERYTHING = Grants.everything();

/** @throws AppError 403 when it is not known who asks. */
export function callerOf(deps: ConsulAccessDeps, request: HttpRequest, token: string): Caller {
  const { access, resolver, aclEnabled } = deps;
  if (token !== "") {
    const ours = access.principalOf(token);
    if (ours?.kind === "admin") return { grants: EVERYTHING, token: null };
    if (ours?.kind === "host") return { grants: agentGrants(deps.hostName(ours) ?? ""), token: null };
    const acl = aclEnabled ? resolver.tokenOf(token) : null;
    if (acl !== null) return { grants: resolver.grantsOf(acl), token: acl };
    if (aclEnabled) throw registryError(403, "ACL not found");
  }
  const passedOn = readPassedOn(request);
  const host = passedOn === null ? null : hostOf(deps, passedOn);
  if (passedOn !== null && host !== null) {
    if (aclEnabled) return { grants: resolver.anonymousGrants(), token: null };
    const isOperator = passedOn.rights === "write" && deps.isServer(host);
    return { grants: isOperator ? EVERYTHING : clientGrants(passedOn.rights, deps.clientsRemoveMembers), token: null };
  }
  const asked = accessRequestOf(request);
  if (token === "" && asked.token?.kind === "session") {
    const verb = request.method === "GET" ? "read" : "write";
    access.authorize(asked, { verb, resource: "consul" });
    return { grants: EVERYTHING, token: null };
  }
  if (aclEnabled) return { grants: resolver.anonymousGrants(), token: null };
  if (isFromThisMachine(asked)) return { grants: EVERYTHING, token: null };
  throw registryError(
    403,
    "Permission denied: requests from other machines need the admin token, or Consul's ACLs switched on",
  );
}

/** The host whose agent passed a request on, by name; null when it is no member's credential. */
export function hostOf({ access, hostName }: ConsulAccessDeps, { credential }: PassedOn): string | null {
  const principal = access.principalOf(credential);
  return principal === null ? null : hostName(principal);
}

const CLIENT_RESOURCES = ["agent", "node", "service", "session", "key", "event", "query"] as const;

/**
 * Without ACLs a program on a host may do what it may in Consul, but for what an operator does: tokens, snapshots and, unless
 * `removes`, removal of members. @throws AppError 403 for `none`.
 */
function clientGrants(rights: PassedOn["rights"], removes: boolean): Grants {
  if (rights === "none")
    throw registryError(
      403,
      "Permission denied: this address may not use the API without a token; see the agent's --consul",
    );
  return CLIENT_GRANTS[rights][removes ? "removing" : "plain"];
}

/** The same for all: who has the same rights gets the same answers. */
const CLIENT_GRANTS = {
  read: { plain: grantsOfClients("read", "read"), removing: grantsOfClients("read", "read") },
  write: { plain: grantsOfClients("write", "read"), removing: grantsOfClients("write", "write") },
} as const;

function grantsOfClients(level: "read" | "write", onServers: "read" | "write"): Grants {
  const named = CLIENT_RESOURCES.map((resource): Rule => ({ resource, name: "", prefix: true, level }));
  const operator: Rule = { resource: "operator", name: "", prefix: false, level: onServers };
  return new Grants([...named, operator], "deny", "this host's clients");
}

/** What a host's agent does for its clients: its own node and what runs on it, and to read the rest. */
function agentGrants(node: string): Grants {
  const rules: readonly Rule[] = [
    { resource: "agent", name: node, prefix: false, level: "write" },
    { resource: "node", name: node, prefix: false, level: "write" },
    { resource: "session", name: node, prefix: false, level: "write" },
    { resource: "service", name: "", prefix: true, level: "write" },
    ...(["node", "session", "key", "event", "query"] as const).map((resource): Rule => ({
      resource,
      name: "",
      prefix: true,
      level: "read",
    })),
  ];
  return new Grants(rules, "deny", `host ${node}`);
}
