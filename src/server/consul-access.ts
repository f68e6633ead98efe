/** Who may do what over Consul's API: the platform's access control first, then Consul's own tokens. */
import type { Caller } from "../api/consul/backend.ts";
import { type AccessControl, isFromThisMachine, type Principal } from "../cluster/access.ts";
import { accessRequestOf } from "../cluster/credentials.ts";
import type { AclResolver } from "../discovery/registry/acl/acl-resolver.ts";
import { Grants } from "../discovery/registry/acl/grants.ts";
import type { Rule } from "../discovery/registry/acl/parse-rules.ts";
import { registryError } from "../discovery/registry/registry-error.ts";
import type { HttpRequest } from "../platform/ports/http.ts";

export interface ConsulAccessDeps {
  readonly access: AccessControl;
  readonly resolver: AclResolver;
  readonly aclEnabled: boolean;
  /** Name of the host with that credential. */
  hostName(principal: Principal): string | null;
}

const EVERYTHING = Grants.everything();

/** @throws AppError 403 when it is not known who asks. */
export function callerOf(deps: ConsulAccessDeps, request: HttpRequest, token: string): Caller {
  const { access, resolver, aclEnabled } = deps;
  if (token !== "") {
    const ours = access.principalOf(token);
    if (ours?.kind === "admin") return { grants: EVERYTHING, token: null };
    if (ours?.kind === "host") {
      const grants = aclEnabled || !speaksForClient(request) ? agentGrants(deps.hostName(ours) ?? "") : EVERYTHING;
      return { grants, token: null };
    }
    const acl = aclEnabled ? resolver.tokenOf(token) : null;
    if (acl !== null) return { grants: resolver.grantsOf(acl), token: acl };
    if (aclEnabled) throw registryError(403, "ACL not found");
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

/** The agent vouches that the request came from a program on its own machine, which may do everything while ACLs are off. */
function speaksForClient(request: HttpRequest): boolean {
  return request.header("x-apollo-client-rights") === "write";
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
