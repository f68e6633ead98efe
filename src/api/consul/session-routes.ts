import type { Session } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import {
  createSession,
  LOCK_DELAY_MS,
  SERF_HEALTH,
  type SessionInput,
} from "../../discovery/registry/session-operations.ts";
import { topic } from "../../discovery/registry/touched.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import { type Fields, readFields } from "./read-fields.ts";
import { answerJson, json, text } from "./respond.ts";

const NANOSECONDS_PER_MS = 1e6;

export function renderSession(session: Session): object {
  return {
    ID: session.id,
    Name: session.name,
    Node: session.node,
    LockDelay: Math.round(session.lockDelayMs * NANOSECONDS_PER_MS),
    Behavior: session.behavior,
    TTL: session.ttl,
    NodeChecks: session.nodeChecks,
    ServiceChecks:
      session.serviceChecks.length === 0
        ? null
        : session.serviceChecks.map(({ id, namespace }) => ({ ID: id, Namespace: namespace })),
    CreateIndex: session.createIndex,
    ModifyIndex: session.modifyIndex,
  };
}

export async function makeSession(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const input = readSession(await readFields(call.request), call.backend.localNode(call.request));
  call.caller.grants.require("session", input.node, "write");
  const id = registry.random.uuid();
  await registry.write((tx) => createSession(tx, id, { input, view: registry.view }));
  return json(call, { ID: id });
}

export function readSession(fields: Fields, localNode: string): SessionInput {
  fields.ignore("ID", "CreateIndex", "ModifyIndex", "Datacenter", "Namespace");
  const behavior = fields.string("Behavior") || "release";
  const legacy = fields.has("Checks") ? fields.strings("Checks") : null;
  const nodeChecks = fields.has("NodeChecks") ? fields.strings("NodeChecks") : (legacy ?? [SERF_HEALTH]);
  const input = {
    name: fields.string("Name"),
    node: fields.string("Node") || localNode,
    lockDelayMs: readLockDelay(fields),
    ttl: readTtl(fields),
    nodeChecks,
    serviceChecks: readServiceChecks(fields),
  };
  fields.finish();
  // Consul's servers look at it, after its agent has read the body: not the client's fault, by the status.
  if (behavior !== "release" && behavior !== "delete")
    throw registryError(500, `Invalid Behavior setting '${behavior}'`);
  return { ...input, behavior };
}

function readTtl(fields: Fields): string {
  const raw = fields.raw("TTL");
  if (raw === undefined) return "";
  return typeof raw === "string" ? raw : String(raw as number);
}

function readServiceChecks(fields: Fields): SessionInput["serviceChecks"] {
  return fields.objects("ServiceChecks").map((each) => {
    const check = { id: each.string("ID"), namespace: each.string("Namespace") };
    each.finish();
    return check;
  });
}

/** A number below 1000 means seconds: clients have always sent 15. */
function readLockDelay(fields: Fields): number {
  const raw = fields.raw("LockDelay");
  const ms = typeof raw === "number" && raw < 1000 ? raw * 1000 : fields.durationMs("LockDelay", LOCK_DELAY_MS.default);
  return Math.max(0, Math.min(ms, LOCK_DELAY_MS.max));
}

export async function destroySession(call: Call): Promise<HttpResponse> {
  const { registry, sessions } = call.backend.parts;
  const id = requireId(call);
  const session = registry.tables.get("session", id);
  if (session === null) return json(call, true);
  call.caller.grants.require("session", session.node, "write");
  await sessions.end(id);
  return json(call, true);
}

export function renewSession(call: Call): HttpResponse {
  const { registry, sessions } = call.backend.parts;
  const id = requireId(call);
  const found = registry.tables.get("session", id);
  if (found !== null) call.caller.grants.require("session", found.node, "write");
  const session = sessions.renew(id);
  if (session === null) return text(404, `Session id '${id}' not found`);
  return json(call, [renderSession(session)]);
}

export function getSession(call: Call): Promise<HttpResponse> {
  const id = requireId(call);
  const { registry } = call.backend.parts;
  const query = registry.query([topic.session(id)], () => {
    const session = registry.tables.get("session", id);
    return session === null ? [] : [session];
  });
  return answerSessions(call, query);
}

export function listSessions(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  return answerSessions(
    call,
    registry.query([topic.sessions], () => registry.tables.list("session", "")),
  );
}

export function nodeSessions(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  if (call.rest === "") throw registryError(400, "Missing node name");
  const query = registry.query([topic.nodeSessions(call.rest)], () =>
    registry.tables.list("session", "").filter(({ node }) => node === call.rest),
  );
  return answerSessions(call, query);
}

function answerSessions(
  call: Call,
  query: Parameters<typeof answerJson<readonly Session[]>>[1],
): Promise<HttpResponse> {
  const { grants } = call.caller;
  return answerJson(call, query, (sessions) =>
    sessions.filter(({ node }) => grants.may("session", node, "read")).map(renderSession),
  );
}

function requireId({ rest }: Call): string {
  if (rest === "") throw registryError(400, "Missing session");
  return rest;
}
