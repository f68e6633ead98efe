import { bootstrapAcl, putToken } from "../../discovery/registry/acl/acl-operations.ts";
import type { AclToken } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import {
  readLinks,
  readNodeIdentities,
  readServiceIdentities,
  renderNodeIdentities,
  renderServiceIdentities,
  requireAcl,
  hashOf,
} from "./acl-shapes.ts";
import { readTemplatedPolicies, renderTemplatedPolicies } from "./acl-template-routes.ts";
import { type Call, readToken } from "./call.ts";
import { badRequest, type Fields, readFields } from "./read-fields.ts";
import { json, readHeaders } from "./respond.ts";

export function renderToken(call: Call, token: AclToken, withSecret = true): object {
  return {
    CreateIndex: token.createIndex,
    ModifyIndex: token.modifyIndex,
    AccessorID: token.accessorId,
    ...(withSecret ? { SecretID: token.secretId } : {}),
    Description: token.description,
    Policies: token.policies.map(({ id, name }) => ({ ID: id, Name: name })),
    Roles: token.roles.map(({ id, name }) => ({ ID: id, Name: name })),
    ServiceIdentities: renderServiceIdentities(token.serviceIdentities),
    NodeIdentities: renderNodeIdentities(token.nodeIdentities),
    ...renderTemplatedPolicies(token.templatedPolicies),
    Local: token.local,
    ...(token.expiresAtMs === null ? {} : { ExpirationTime: new Date(token.expiresAtMs).toISOString() }),
    CreateTime: new Date(token.createdAtMs).toISOString(),
    Hash: hashOf(call, { ...token, createIndex: 0, modifyIndex: 0 }),
  };
}

export async function bootstrap(call: Call): Promise<HttpResponse> {
  requireAcl(call);
  const { registry } = call.backend.parts;
  const { random } = registry;
  const fields = await readFields(call.request);
  const secretId = fields.string("BootstrapSecret") || random.uuid();
  fields.finish();
  const made = { accessorId: random.uuid(), secretId, nowMs: registry.clock.nowMs() };
  return json(call, renderToken(call, await registry.write((tx) => bootstrapAcl(tx, made))));
}

export function listTokens(call: Call): HttpResponse {
  requireAcl(call);
  call.caller.grants.require("acl", "", "read");
  const { registry } = call.backend.parts;
  const { query } = call.request;
  const [policy, role] = [query.get("policy"), query.get("role")];
  const withSecret = call.caller.grants.may("acl", "", "write");
  const shown = registry.tables
    .list("token", "")
    .filter(({ policies }) => policy === null || policies.some(({ id }) => id === policy))
    .filter(({ roles }) => role === null || roles.some(({ id }) => id === role))
    .map((token) => renderToken(call, token, withSecret));
  return json(call, shown, readHeaders(call, registry.index));
}

/** The token that was shown itself. */
export function selfToken(call: Call): HttpResponse {
  requireAcl(call);
  const { token } = call.caller;
  if (token === null) throw registryError(readToken(call.request) === "" ? 403 : 404, "ACL not found");
  return json(call, renderToken(call, token), readHeaders(call, token.modifyIndex));
}

export async function createToken(call: Call): Promise<HttpResponse> {
  requireAcl(call);
  call.caller.grants.require("acl", "", "write");
  const { registry } = call.backend.parts;
  const { random, clock } = registry;
  const fields = await readFields(call.request);
  const made = {
    accessorId: fields.string("AccessorID") || random.uuid(),
    secretId: fields.string("SecretID") || random.uuid(),
    createdAtMs: clock.nowMs(),
  };
  const ttlMs = fields.durationMs("ExpirationTTL");
  const expiresAtMs = ttlMs > 0 ? clock.nowMs() + ttlMs : readTime(fields.string("ExpirationTime"));
  const token = { ...made, expiresAtMs, ...readTokenBody(fields, null) };
  if (registry.tables.get("token", token.accessorId) !== null)
    throw badRequest("Invalid Token: AccessorID is already in use");
  return json(call, renderToken(call, await registry.write((tx) => putToken(tx, token))));
}

function readTime(text: string): number | null {
  if (text === "") return null;
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw badRequest(`Invalid ExpirationTime ${JSON.stringify(text)}`);
  return ms;
}

function readTokenBody(
  fields: Fields,
  before: AclToken | null,
): Omit<AclToken, "accessorId" | "secretId" | "createdAtMs" | "expiresAtMs" | "createIndex" | "modifyIndex"> {
  fields.ignore("CreateIndex", "ModifyIndex", "Hash", "CreateTime", "Namespace", "Partition", "AuthMethod");
  const body = {
    description: fields.string("Description"),
    policies: readLinks(fields, "Policies"),
    roles: readLinks(fields, "Roles"),
    serviceIdentities: readServiceIdentities(fields),
    nodeIdentities: readNodeIdentities(fields),
    templatedPolicies: readTemplatedPolicies(fields),
    local: fields.boolean("Local", before?.local ?? false),
  };
  fields.finish();
  return body;
}

export function getToken(call: Call): HttpResponse {
  requireAcl(call);
  call.caller.grants.require("acl", "", "read");
  const token = requireToken(call, call.rest);
  return json(call, renderToken(call, token), readHeaders(call, token.modifyIndex));
}

/** `/acl/token/:id` changes, `/acl/token/:id/clone` copies. */
export async function changeToken(call: Call): Promise<HttpResponse> {
  requireAcl(call);
  call.caller.grants.require("acl", "", "write");
  const { registry } = call.backend.parts;
  const cloned = /^(.+)\/clone$/.exec(call.rest)?.[1];
  const before = requireToken(call, cloned ?? call.rest);
  const fields = await readFields(call.request);
  if (cloned !== undefined) {
    const description = fields.string("Description") || before.description;
    fields.ignore("Namespace", "Partition");
    fields.finish();
    const made = {
      accessorId: registry.random.uuid(),
      secretId: registry.random.uuid(),
      createdAtMs: registry.clock.nowMs(),
    };
    return json(
      call,
      renderToken(call, await registry.write((tx) => putToken(tx, { ...before, ...made, description }))),
    );
  }
  fields.ignore("AccessorID", "ExpirationTTL", "ExpirationTime");
  const secretId = fields.string("SecretID", before.secretId);
  if (secretId !== before.secretId) throw badRequest("Changing a Token's SecretID is not permitted");
  const token = { ...before, ...readTokenBody(fields, before) };
  return json(call, renderToken(call, await registry.write((tx) => putToken(tx, token))));
}

export async function deleteToken(call: Call): Promise<HttpResponse> {
  requireAcl(call);
  call.caller.grants.require("acl", "", "write");
  const { accessorId } = requireToken(call, call.rest);
  await call.backend.parts.registry.write((tx) => tx.delete("token", accessorId));
  return json(call, true);
}

function requireToken(call: Call, accessor: string): AclToken {
  const token = call.backend.parts.registry.tables.get("token", accessor);
  if (token === null) throw registryError(404, "ACL not found");
  return token;
}

export function aclReplication(call: Call): HttpResponse {
  requireAcl(call);
  return json(call, {
    Enabled: false,
    Running: false,
    SourceDatacenter: "",
    ReplicationType: "",
    ReplicatedIndex: 0,
    ReplicatedRoleIndex: 0,
    ReplicatedTokenIndex: 0,
    LastSuccess: "0001-01-01T00:00:00Z",
    LastError: "0001-01-01T00:00:00Z",
    LastErrorMessage: "",
  });
}

/** There are no auth methods that could know anybody: what Consul answers while none is set up. */
export async function aclLogin(call: Call): Promise<HttpResponse> {
  requireAcl(call);
  const fields = await readFields(call.request);
  const method = fields.string("AuthMethod");
  if (fields.string("BearerToken") === "" || method === "")
    throw registryError(500, `Invalid Login: ${method === "" ? "AuthMethod" : "BearerToken"} must be set`);
  throw registryError(403, `ACL not found: auth method ${JSON.stringify(method)} not found`);
}

/** Only a token that a login made can be given back so. */
export function aclLogout(call: Call): HttpResponse {
  requireAcl(call);
  if (readToken(call.request) === "") throw registryError(401, "Supplied token does not exist");
  if (call.caller.token === null) throw registryError(403, "ACL not found");
  throw registryError(403, "Permission denied: token was not created by a login");
}
