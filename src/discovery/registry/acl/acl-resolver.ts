/** From a token's secret to what its holder may do. */
import type { AclPolicy, AclToken } from "../records.ts";
import type { Registry } from "../registry.ts";
import { ANONYMOUS, findPolicy, findRole } from "./acl-operations.ts";
import { Grants } from "./grants.ts";
import { parseRules, type Rule } from "./parse-rules.ts";
import { rulesOfTemplated } from "./templated-policies.ts";

export class AclResolver {
  readonly #registry: Registry;
  readonly #otherwise: "allow" | "deny";
  readonly #bySecret = new Map<string, string>();
  /** By accessor; emptied with any change of tokens, policies and roles. */
  readonly #grants = new Map<string, Grants>();
  readonly #rules = new WeakMap<AclPolicy, readonly Rule[]>();

  constructor(registry: Registry, otherwise: "allow" | "deny") {
    this.#registry = registry;
    this.#otherwise = otherwise;
    for (const token of registry.tables.list("token", "")) this.#bySecret.set(token.secretId, token.accessorId);
    registry.onChange(({ table, row }, before) => {
      if (table !== "token" && table !== "policy" && table !== "role") return;
      this.#grants.clear();
      if (table !== "token") return;
      if (before !== null) this.#bySecret.delete((before as AclToken).secretId);
      if (row !== null) this.#bySecret.set((row as AclToken).secretId, (row as AclToken).accessorId);
    });
  }

  /** The token with that secret; null when there is none, or when its time is over. */
  tokenOf(secret: string): AclToken | null {
    const token = this.#registry.tables.get("token", this.#bySecret.get(secret) ?? "");
    if (token === null) return null;
    return token.expiresAtMs !== null && token.expiresAtMs <= this.#registry.clock.nowMs() ? null : token;
  }

  grantsOf(token: AclToken): Grants {
    const known = this.#grants.get(token.accessorId);
    if (known !== undefined) return known;
    const grants = new Grants(this.#rulesOf(token), this.#otherwise, token.accessorId);
    this.#grants.set(token.accessorId, grants);
    return grants;
  }

  /** Of requests without a token: what the anonymous token says, if it is there. */
  anonymousGrants(): Grants {
    const token = this.tokenOf(ANONYMOUS.secretId);
    return token === null ? new Grants([], this.#otherwise, ANONYMOUS.accessorId) : this.grantsOf(token);
  }

  #rulesOf(token: AclToken): readonly Rule[] {
    const { tables } = this.#registry;
    const holders = [token, ...token.roles.flatMap(({ id }) => findRole(tables, id) ?? [])];
    return holders.flatMap((holder) => [
      ...holder.policies.flatMap(({ id }) => this.#rulesOfPolicy(findPolicy(tables, id))),
      ...holder.serviceIdentities.flatMap(({ serviceName }) => serviceRules(serviceName)),
      ...holder.nodeIdentities.flatMap(({ nodeName }) => nodeRules(nodeName)),
      ...(holder.templatedPolicies ?? []).flatMap(rulesOfTemplated),
    ]);
  }

  #rulesOfPolicy(policy: AclPolicy | null): readonly Rule[] {
    if (policy === null) return [];
    const known = this.#rules.get(policy) ?? parseRules(policy.rules);
    this.#rules.set(policy, known);
    return known;
  }
}

/** What an instance of a service needs, its proxy included. */
function serviceRules(service: string): readonly Rule[] {
  return [
    { resource: "service", name: service, prefix: false, level: "write" },
    { resource: "service", name: `${service}-sidecar-proxy`, prefix: false, level: "write" },
    { resource: "service", name: "", prefix: true, level: "read" },
    { resource: "node", name: "", prefix: true, level: "read" },
  ];
}

function nodeRules(node: string): readonly Rule[] {
  return [
    { resource: "node", name: node, prefix: false, level: "write" },
    { resource: "service", name: "", prefix: true, level: "read" },
  ];
}
