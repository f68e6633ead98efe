import type { UserEvent } from "../../discovery/registry/user-events.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { localNode } from "./agent-service-routes.ts";
import type { Call } from "./call.ts";
import { badRequest } from "./read-fields.ts";
import { json, readHeaders } from "./respond.ts";

/** Gossip carries no more in Consul, so its clients send no more. */
const PAYLOAD_BYTES_MAX = 512 * 1024;

export async function fireEvent(call: Call): Promise<HttpResponse> {
  if (call.rest === "") throw badRequest("Missing name");
  call.caller.grants.require("event", call.rest, "write");
  const bytes = await call.request.body();
  if (bytes.byteLength > PAYLOAD_BYTES_MAX) throw registryError(413, "Request body too large");
  const { query } = call.request;
  const filters = {
    nodeFilter: query.get("node") ?? "",
    serviceFilter: query.get("service") ?? "",
    tagFilter: query.get("tag") ?? "",
  };
  if (filters.tagFilter !== "" && filters.serviceFilter === "")
    throw badRequest("Cannot provide tag filter without service filter");
  const payload = bytes.byteLength === 0 ? null : bytes.toBase64();
  const event = call.backend.parts.events.fire({ name: call.rest, payload, ...filters });
  // Who fires it learns no time of it: it has not come back yet.
  return json(call, { ...renderEvent(event), LTime: 0 });
}

/** What reached the agent that is asked: an event for other nodes is none of its. */
export async function listEvents(call: Call): Promise<HttpResponse> {
  const { events } = call.backend.parts;
  const { grants } = call.caller;
  const name = call.request.query.get("name") ?? "";
  const { minIndex, waitMs, request } = call;
  const node = localNode(call);
  const found = await events.next(name, node, { minIndex, waitMs, signal: request.signal });
  const filters = [
    ["node", (event: UserEvent) => event.nodeFilter],
    ["service", (event: UserEvent) => event.serviceFilter],
    ["tag", (event: UserEvent) => event.tagFilter],
  ] as const;
  const shown = found
    .filter((event) => grants.may("event", event.name, "read"))
    .filter((event) =>
      filters.every(([key, of]) => request.query.get(key) === null || of(event) === request.query.get(key)),
    );
  return json(call, shown.map(renderEvent), readHeaders(call, events.indexOf(name, node)));
}

function renderEvent(event: UserEvent): object {
  return {
    ID: event.id,
    Name: event.name,
    Payload: event.payload,
    NodeFilter: event.nodeFilter,
    ServiceFilter: event.serviceFilter,
    TagFilter: event.tagFilter,
    Version: event.version,
    LTime: event.lTime,
  };
}
