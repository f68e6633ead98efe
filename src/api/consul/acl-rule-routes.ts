/** Policies and roles. */
import {
  BUILTIN_POLICIES,
  findPolicy,
  findRole,
  putPolicy,
  putRole,
} from "../../discovery/registry/acl/acl-operations.ts";
import type { AclPolicy, AclRole } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import {
  hashOf,
  readLinks,
  readNodeIdentities,
  readServiceIdentities,
  renderNodeIdentities,
  renderServiceIdentities,
  requireAcl,
} from "./acl-shapes.ts";
import { readTemplatedPolicies, renderTemplatedPolicies } from "./acl-template-routes.ts";
import type { Call } from "./call.ts";
import { type Fields, readFields } from "./read-fields.ts";
import { json, readHeaders } from "./respond.ts";

function renderPolicy(call: Call, policy: AclPolicy, withRules = true): object {
  return {
    ID: policy.id,
    Name: policy.name,
    Description: policy.description,
    ...(withRules ? { Rules: policy.rules } : {}),
    Datacenters: policy.datacenters.length === 0 ? null : policy.datacenters,
    Hash: hashOf(call, policy),
    CreateIndex: policy.createIndex,
    ModifyIndex: policy.modifyIndex,
  };
}

function require(call: Call, access: "read" | "write"): void {
  requireAcl(call);
  call.caller.grants.require("acl", "", access);
}

export function listPolicies(call: Call): HttpResponse {
  require(call, "read");
  const { registry } = call.backend.parts;
  const policies = [...BUILTIN_POLICIES, ...registry.tables.list("policy", "")];
  return json(
    call,
    policies.map((policy) => renderPolicy(call, policy, false)),
    readHeaders(call, registry.index),
  );
}

export async function createPolicy(call: Call): Promise<HttpResponse> {
  require(call, "write");
  const { registry } = call.backend.parts;
  const fields = await readFields(call.request);
  if (fields.string("ID") !== "") throw registryError(400, "Cannot specify the ID when creating a new policy");
  const policy = { id: registry.random.uuid(), ...readPolicy(fields) };
  return json(call, renderPolicy(call, await registry.write((tx) => putPolicy(tx, policy))));
}

function readPolicy(fields: Fields): Pick<AclPolicy, "name" | "description" | "rules" | "datacenters"> {
  fields.ignore("ID", "CreateIndex", "ModifyIndex", "Hash", "Namespace", "Partition");
  const policy = {
    name: fields.string("Name"),
    description: fields.string("Description"),
    rules: fields.string("Rules"),
    datacenters: fields.strings("Datacenters"),
  };
  fields.finish();
  return policy;
}

/** `/acl/policy/:id` and `/acl/policy/name/:name`. */
export function getPolicy(call: Call): HttpResponse {
  require(call, "read");
  const policy = findPolicy(call.backend.parts.registry.tables, call.rest);
  if (policy === null) throw registryError(404, `Requested ACL not found: ${call.rest}`);
  return json(call, renderPolicy(call, policy), readHeaders(call, policy.modifyIndex));
}

export async function updatePolicy(call: Call): Promise<HttpResponse> {
  require(call, "write");
  const { registry } = call.backend.parts;
  const before = findPolicy(registry.tables, call.rest);
  if (before === null) throw registryError(404, `Requested ACL not found: ${call.rest}`);
  const policy = { id: before.id, ...readPolicy(await readFields(call.request)) };
  return json(call, renderPolicy(call, await registry.write((tx) => putPolicy(tx, policy))));
}

/** Takes it out of tokens and roles, too. */
export async function deletePolicy(call: Call): Promise<HttpResponse> {
  require(call, "write");
  const { registry } = call.backend.parts;
  if (BUILTIN_POLICIES.some(({ id }) => id === call.rest))
    throw registryError(403, "Delete operation not permitted on the builtin policies");
  const id = call.rest;
  await registry.write((tx) => {
    const without = <Row extends { readonly policies: AclRole["policies"] }>(row: Row): Row | null =>
      row.policies.some((link) => link.id === id)
        ? { ...row, policies: row.policies.filter((link) => link.id !== id) }
        : null;
    for (const token of tx.list("token", "")) {
      const changed = without(token);
      if (changed !== null) tx.put("token", token.accessorId, changed);
    }
    for (const role of tx.list("role", "")) {
      const changed = without(role);
      if (changed !== null) tx.put("role", role.id, changed);
    }
    tx.delete("policy", id);
  });
  return json(call, true);
}

function renderRole(call: Call, role: AclRole): object {
  return {
    ID: role.id,
    Name: role.name,
    Description: role.description,
    Policies: role.policies.map(({ id, name }) => ({ ID: id, Name: name })),
    ServiceIdentities: renderServiceIdentities(role.serviceIdentities),
    NodeIdentities: renderNodeIdentities(role.nodeIdentities),
    ...renderTemplatedPolicies(role.templatedPolicies),
    Hash: hashOf(call, role),
    CreateIndex: role.createIndex,
    ModifyIndex: role.modifyIndex,
  };
}

export function listRoles(call: Call): HttpResponse {
  require(call, "read");
  const { registry } = call.backend.parts;
  const policy = call.request.query.get("policy");
  const shown = registry.tables
    .list("role", "")
    .filter(({ policies }) => policy === null || policies.some(({ id }) => id === policy))
    .map((role) => renderRole(call, role));
  return json(call, shown, readHeaders(call, registry.index));
}

export async function createRole(call: Call): Promise<HttpResponse> {
  require(call, "write");
  const { registry } = call.backend.parts;
  const role = { id: registry.random.uuid(), ...readRole(await readFields(call.request)) };
  return json(call, renderRole(call, await registry.write((tx) => putRole(tx, role))));
}

function readRole(fields: Fields): Omit<AclRole, "id" | "createIndex" | "modifyIndex"> {
  fields.ignore("ID", "CreateIndex", "ModifyIndex", "Hash", "Namespace", "Partition");
  const role = {
    name: fields.string("Name"),
    description: fields.string("Description"),
    policies: readLinks(fields, "Policies"),
    serviceIdentities: readServiceIdentities(fields),
    nodeIdentities: readNodeIdentities(fields),
    templatedPolicies: readTemplatedPolicies(fields),
  };
  fields.finish();
  return role;
}

/** `/acl/role/:id` and `/acl/role/name/:name`. */
export function getRole(call: Call): HttpResponse {
  require(call, "read");
  const role = requireRole(call);
  return json(call, renderRole(call, role), readHeaders(call, role.modifyIndex));
}

export async function updateRole(call: Call): Promise<HttpResponse> {
  require(call, "write");
  const { id } = requireRole(call);
  const role = { id, ...readRole(await readFields(call.request)) };
  return json(call, renderRole(call, await call.backend.parts.registry.write((tx) => putRole(tx, role))));
}

export async function deleteRole(call: Call): Promise<HttpResponse> {
  require(call, "write");
  const { id } = requireRole(call);
  await call.backend.parts.registry.write((tx) => {
    for (const token of tx.list("token", ""))
      if (token.roles.some((link) => link.id === id))
        tx.put("token", token.accessorId, { ...token, roles: token.roles.filter((link) => link.id !== id) });
    tx.delete("role", id);
  });
  return json(call, true);
}

function requireRole(call: Call): AclRole {
  const role = findRole(call.backend.parts.registry.tables, call.rest);
  if (role === null) throw registryError(404, `Requested ACL not found: ${call.rest}`);
  return role;
}
