/** Tokens, policies and roles, as changes of a transaction. */
import type { AclLink, AclPolicy, AclRole, AclToken } from "../records.ts";
import { registryError } from "../registry-error.ts";
import type { TableReader, Transaction, Unstamped } from "../tables.ts";
import { parseRules } from "./parse-rules.ts";

export const MANAGEMENT: AclLink = { id: "00000000-0000-0000-0000-000000000001", name: "global-management" };
export const READ_ONLY: AclLink = { id: "00000000-0000-0000-0000-000000000002", name: "builtin/global-read-only" };
/** Of requests without a token. */
export const ANONYMOUS = { accessorId: "00000000-0000-0000-0000-000000000002", secretId: "anonymous" } as const;

const KINDS = ["acl", "operator", "keyring", "mesh", "peering"];
const NAMED = ["agent", "event", "key", "node", "query", "service", "session"];

function rulesFor(level: string): string {
  const named = NAMED.map((kind) => `${kind}_prefix "" { policy = "${level}" }`);
  return [...KINDS.map((kind) => `${kind} = "${level}"`), ...named].join("\n");
}

const STAMPS = { createIndex: 1, modifyIndex: 1 };
/** Always there, and not to be changed. */
export const BUILTIN_POLICIES: readonly AclPolicy[] = [
  {
    ...MANAGEMENT,
    description: "A policy that grants unlimited access",
    rules: rulesFor("write"),
    datacenters: [],
    ...STAMPS,
  },
  {
    ...READ_ONLY,
    description: "A policy that grants unlimited read-only access to all components",
    rules: rulesFor("read"),
    datacenters: [],
    ...STAMPS,
  },
];

export function findPolicy(tables: TableReader, idOrName: string): AclPolicy | null {
  const fits = ({ id, name }: AclPolicy): boolean => id === idOrName || name === idOrName;
  return BUILTIN_POLICIES.find(fits) ?? tables.get("policy", idOrName) ?? tables.list("policy", "").find(fits) ?? null;
}

export function findRole(tables: TableReader, idOrName: string): AclRole | null {
  return tables.get("role", idOrName) ?? tables.list("role", "").find(({ name }) => name === idOrName) ?? null;
}

const NAME = /^[\w-]{1,128}$/;

/** @throws AppError when the name is taken or the rules cannot be read. */
export function putPolicy(tx: Transaction, policy: Unstamped<AclPolicy>): AclPolicy {
  if (BUILTIN_POLICIES.some(({ id }) => id === policy.id))
    throw registryError(403, "Changing the Rules for the builtin policies is not permitted");
  checkName(policy.name, "Policy");
  const other = findPolicy(tx, policy.name);
  if (other !== null && other.id !== policy.id)
    throw registryError(500, `Invalid Policy: A Policy with Name ${JSON.stringify(policy.name)} already exists`);
  parseRules(policy.rules);
  return tx.put("policy", policy.id, policy);
}

export function putRole(tx: Transaction, role: Unstamped<AclRole>): AclRole {
  checkName(role.name, "Role");
  const other = findRole(tx, role.name);
  if (other !== null && other.id !== role.id)
    throw registryError(500, `Invalid Role: A Role with Name ${JSON.stringify(role.name)} already exists`);
  return tx.put("role", role.id, { ...role, policies: resolvePolicies(tx, role.policies) });
}

function checkName(name: string, what: string): void {
  if (!NAME.test(name))
    throw registryError(
      400,
      `Invalid ${what}: invalid Name. Only alphanumeric characters, '-' and '_' are allowed, 128 at most`,
    );
}

export function putToken(tx: Transaction, token: Unstamped<AclToken>): AclToken {
  for (const other of tx.list("token", "")) {
    if (other.accessorId !== token.accessorId && other.secretId === token.secretId)
      throw registryError(400, "Invalid Token: SecretID is already in use");
  }
  const roles = token.roles.map((link): AclLink => {
    const role = findRole(tx, link.id === "" ? link.name : link.id);
    if (role === null) throw registryError(500, `No such ACL role with name ${JSON.stringify(link.name || link.id)}`);
    return { id: role.id, name: role.name };
  });
  return tx.put("token", token.accessorId, { ...token, roles, policies: resolvePolicies(tx, token.policies) });
}

function resolvePolicies(tx: Transaction, links: readonly AclLink[]): readonly AclLink[] {
  return links.map((link) => {
    const policy = findPolicy(tx, link.id === "" ? link.name : link.id);
    if (policy === null)
      throw registryError(500, `No such ACL policy with name ${JSON.stringify(link.name || link.id)}`);
    return { id: policy.id, name: policy.name };
  });
}

/** The first token, which may do everything. Once there is one like it, only it makes others. @throws AppError 403. */
export function bootstrapAcl(
  tx: Transaction,
  made: { readonly accessorId: string; readonly secretId: string; readonly nowMs: number },
): AclToken {
  const first = tx.list("token", "").find(({ policies }) => policies.some(({ id }) => id === MANAGEMENT.id));
  if (first !== undefined)
    throw registryError(403, `Permission denied: ACL bootstrap no longer allowed (reset index: ${first.modifyIndex})`);
  return tx.put("token", made.accessorId, {
    accessorId: made.accessorId,
    secretId: made.secretId,
    description: "Bootstrap Token (Global Management)",
    policies: [MANAGEMENT],
    roles: [],
    serviceIdentities: [],
    nodeIdentities: [],
    local: false,
    createdAtMs: made.nowMs,
    expiresAtMs: null,
  });
}
