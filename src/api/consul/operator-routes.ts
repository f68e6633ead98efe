/** Status, servers, coordinates and snapshots. */
import { SERVER_PORT } from "../../discovery/registry/platform-catalog.ts";
import { renderSnapshot, restoreSnapshot } from "../../discovery/registry/snapshot.ts";
import { topic } from "../../discovery/registry/touched.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { CONSUL_VERSION } from "./agent-routes.ts";
import type { Member } from "./backend.ts";
import type { Call } from "./call.ts";
import { badRequest, readFields } from "./read-fields.ts";
import { answerQuery, empty, json, jsonWith, readHeaders } from "./respond.ts";

export function statusLeader(call: Call): HttpResponse {
  return json(call, call.backend.leader());
}

export function statusPeers(call: Call): HttpResponse {
  return json(call, call.backend.peers());
}

function requireOperator(call: Call): void {
  call.caller.grants.require("operator", "", "read");
}

function servers({ backend }: Call): readonly (Member & { readonly raft: string; readonly leader: boolean })[] {
  return backend
    .members()
    .filter(({ server, status }) => server && status !== "left")
    .map((member) => {
      const raft = `${member.address}:${member.serverPort ?? SERVER_PORT}`;
      return { ...member, raft, leader: raft === backend.leader() };
    });
}

/** There is no Raft here: the servers, with the one that has the store as leader. */
export function raftConfiguration(call: Call): HttpResponse {
  requireOperator(call);
  const { index } = call.backend.parts.registry;
  return json(call, {
    Servers: servers(call).map(({ id, name, raft, leader }) => ({
      ID: id,
      Node: name,
      Address: raft,
      Leader: leader,
      Voter: true,
      ProtocolVersion: "3",
      LastIndex: index,
    })),
    Index: index,
  });
}

function serverHealth(call: Call): readonly object[] {
  const { registry } = call.backend.parts;
  return servers(call).map(({ id, name, raft, leader, status }) => ({
    ID: id,
    Name: name,
    Address: raft,
    SerfStatus: status,
    Version: CONSUL_VERSION,
    Leader: leader,
    LastContact: "0s",
    LastTerm: registry.term,
    LastIndex: registry.index,
    Healthy: status === "alive",
    Voter: true,
    StableSince: new Date(call.backend.startedAtMs).toISOString(),
  }));
}

/** How many servers may fail before the others cannot decide any more. */
export function failureTolerance(alive: number, all: number): number {
  return Math.max(0, alive - (Math.floor(all / 2) + 1));
}

export function autopilotHealth(call: Call): HttpResponse {
  requireOperator(call);
  const all = servers(call);
  const alive = all.filter(({ status }) => status === "alive").length;
  const healthy = alive === all.length;
  const body = { Healthy: healthy, FailureTolerance: failureTolerance(alive, all.length), Servers: serverHealth(call) };
  // Load balancers go by the status.
  return jsonWith(healthy ? 200 : 429, call, { value: body });
}

export function autopilotState(call: Call): HttpResponse {
  requireOperator(call);
  const all = servers(call);
  const alive = all.filter(({ status }) => status === "alive").length;
  const shown = all.map(
    ({ id, name, raft, leader, status }) =>
      [
        id,
        {
          ID: id,
          Name: name,
          Address: raft,
          NodeStatus: status,
          Version: CONSUL_VERSION,
          LastContact: "0s",
          LastTerm: call.backend.parts.registry.term,
          LastIndex: call.backend.parts.registry.index,
          Healthy: status === "alive",
          StableSince: new Date(call.backend.startedAtMs).toISOString(),
          ReadReplica: false,
          Status: leader ? "leader" : "voter",
          NodeType: "voter",
          Meta: {},
        },
      ] as const,
  );
  return json(call, {
    Healthy: alive === all.length,
    FailureTolerance: failureTolerance(alive, all.length),
    OptimisticFailureTolerance: failureTolerance(alive, all.length),
    Servers: Object.fromEntries(shown),
    Leader: all.find(({ leader }) => leader)?.id ?? "",
    Voters: all.map(({ id }) => id),
  });
}

export function operatorUsage(call: Call): HttpResponse {
  requireOperator(call);
  const { registry } = call.backend.parts;
  const names = registry.view.serviceNames();
  const instances = names.map((name) => registry.view.instances(name).length);
  const usage = {
    Nodes: registry.view.nodes().length,
    Services: names.length,
    ServiceInstances: instances.reduce((sum, each) => sum + each, 0),
    ConnectServiceInstances: {},
    BillableServiceInstances: instances.reduce((sum, each, at) => sum + (names[at] === "consul" ? 0 : each), 0),
  };
  return json(call, { Usage: { [call.backend.datacenter()]: usage } }, readHeaders(call, registry.index));
}

const SNAPSHOT_TYPE = "application/octet-stream";

export function saveSnapshot(call: Call): HttpResponse {
  call.caller.grants.require("acl", "", "write");
  const { registry } = call.backend.parts;
  const headers = { ...readHeaders(call, registry.index), "content-type": SNAPSHOT_TYPE };
  return { status: 200, headers, body: renderSnapshot(registry) };
}

export async function putBackSnapshot(call: Call): Promise<HttpResponse> {
  call.caller.grants.require("acl", "", "write");
  const bytes = await call.request.body();
  await restoreSnapshot(call.backend.parts.registry, new TextDecoder().decode(bytes));
  return empty();
}

export function coordinateNodes(call: Call): Promise<HttpResponse> {
  return answerCoordinates(call, () => true, json);
}

export function coordinateNode(call: Call): Promise<HttpResponse> {
  return answerCoordinates(
    call,
    (node) => node === call.rest,
    (asked, found, headers) => (found.length === 0 ? empty(404, headers) : json(asked, found, headers)),
  );
}

function answerCoordinates(
  call: Call,
  isAsked: (node: string) => boolean,
  render: (call: Call, found: readonly unknown[], headers: Readonly<Record<string, string>>) => HttpResponse,
): Promise<HttpResponse> {
  const { registry, coordinates } = call.backend.parts;
  const { grants } = call.caller;
  return answerQuery(
    call,
    registry.query([topic.coordinates], () => coordinates.list()),
    (found, headers) => {
      const asked = found.filter(({ node }) => isAsked(node) && grants.may("node", node, "read"));
      const shown = asked.map(({ node, coordinate: { vec, error, adjustment, height } }) => ({
        Node: node,
        Segment: "",
        Coord: { Vec: vec, Error: error, Adjustment: adjustment, Height: height },
      }));
      return render(call, shown, headers);
    },
  );
}

export function coordinateDatacenters(call: Call): HttpResponse {
  const coordinates = servers(call).map(({ name }) => ({
    Node: name,
    Segment: "",
    Coord: { Vec: [0, 0, 0, 0, 0, 0, 0, 0], Error: 1.5, Adjustment: 0, Height: 0.00001 },
  }));
  return json(call, [{ Datacenter: call.backend.datacenter(), AreaID: "wan", Coordinates: coordinates }]);
}

export async function updateCoordinate(call: Call): Promise<HttpResponse> {
  const { registry, coordinates } = call.backend.parts;
  const fields = await readFields(call.request);
  fields.ignore("Datacenter", "Segment", "Namespace", "Partition");
  const node = fields.string("Node");
  const coord = fields.object("Coord");
  fields.finish();
  call.caller.grants.require("node", node, "write");
  if (registry.view.node(node) === null) throw badRequest(`Unknown node ${JSON.stringify(node)}`);
  const number = (name: string): number => {
    const value = coord?.raw(name) ?? 0;
    if (typeof value !== "number" || !Number.isFinite(value)) throw badRequest(`Invalid Coordinate: ${name}`);
    return value;
  };
  const vec: unknown = coord?.raw("Vec") ?? [];
  if (!Array.isArray(vec) || vec.length !== 8 || !vec.every((each) => typeof each === "number"))
    throw badRequest("Invalid Coordinate: Vec must have 8 numbers");
  coordinates.update(node, {
    vec: vec as readonly number[],
    error: number("Error"),
    adjustment: number("Adjustment"),
    height: number("Height"),
  });
  return empty();
}
