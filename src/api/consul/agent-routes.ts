/** The agent itself: who it is, who else is there. */
import { SERVER_PORT } from "../../discovery/registry/platform-catalog.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { localNode } from "./agent-service-routes.ts";
import type { Member } from "./backend.ts";
import type { Call } from "./call.ts";
import { badRequest } from "./read-fields.ts";
import { empty, json } from "./respond.ts";

/** The Consul whose API this is; clients choose features by it. */
export const CONSUL_VERSION = "1.21.4";
const SERF_PORT = 8301;
const MEMBER_STATUS = { alive: 1, left: 3, failed: 4 } as const;

export function agentSelf(call: Call): HttpResponse {
  const { backend } = call;
  const name = localNode(call);
  call.caller.grants.require("agent", name, "read");
  const member = backend.members().find((each) => each.name === name);
  const node = backend.parts.registry.view.node(name);
  const datacenter = backend.datacenter();
  return json(call, {
    Config: {
      Datacenter: datacenter,
      PrimaryDatacenter: datacenter,
      NodeName: name,
      NodeID: node?.id ?? "",
      Revision: `apollo-${backend.version}`,
      Server: member?.server ?? false,
      Version: CONSUL_VERSION,
      BuildDate: "1970-01-01T00:00:01Z",
    },
    // Patroni reads the least TTL of a session here, tests of clients the address, Nomad what there is of a mesh.
    DebugConfig: {
      Datacenter: datacenter,
      NodeName: name,
      AdvertiseAddrLAN: node?.address ?? "",
      ConnectEnabled: false,
      GRPCPort: -1,
      SessionTTLMin: "10s",
      ACLsEnabled: backend.aclEnabled,
      ServerMode: member?.server ?? false,
      UIConfig: { Enabled: false },
    },
    Coord: { Vec: [0, 0, 0, 0, 0, 0, 0, 0], Error: 1.5, Adjustment: 0, Height: 0.00001 },
    Member: member === undefined ? null : renderMember(member, datacenter),
    Stats: {
      agent: { services: String(backend.parts.registry.view.servicesOn(name).length) },
      build: { version: CONSUL_VERSION, revision: `apollo-${backend.version}`, prerelease: "" },
      consul: {
        leader: String(member?.server ?? false),
        leader_addr: backend.leader(),
        server: String(member?.server ?? false),
      },
    },
    Meta: node?.meta ?? {},
  });
}

export function agentMembers(call: Call): HttpResponse {
  const { grants } = call.caller;
  const wan = call.request.query.get("wan");
  const shown = call.backend
    .members()
    // Over the WAN only servers know each other.
    .filter(({ name, server }) => grants.may("node", name, "read") && (server || wan === null || wan === "0"))
    .map((member) => renderMember(member, call.backend.datacenter()));
  return json(call, shown);
}

export function renderMember(
  { name, address, id, server, status, serverPort = SERVER_PORT }: Member,
  datacenter: string,
): object {
  const common = {
    build: `${CONSUL_VERSION}:apollo`,
    dc: datacenter,
    id,
    segment: "",
    vsn: "2",
    vsn_max: "3",
    vsn_min: "2",
  };
  return {
    Name: name,
    Addr: address,
    Port: SERF_PORT,
    Tags: server
      ? { ...common, role: "consul", port: String(serverPort), raft_vsn: "3", expect: "1" }
      : { ...common, role: "node" },
    Status: MEMBER_STATUS[status],
    ProtocolMin: 1,
    ProtocolMax: 5,
    ProtocolCur: 2,
    DelegateMin: 2,
    DelegateMax: 5,
    DelegateCur: 4,
  };
}

export function agentVersion(call: Call): HttpResponse {
  return json(call, {
    SHA: `apollo-${call.backend.version}`,
    BuildDate: "1970-01-01T00:00:01Z",
    HumanVersion: CONSUL_VERSION,
    FIPS: "",
  });
}

export function agentHost(call: Call): HttpResponse {
  call.caller.grants.require("operator", "", "read");
  return json(call, call.backend.hostInfo());
}

/** Nothing is read at start that could be read again: the configuration is the platform's. */
export function agentReload(call: Call): HttpResponse {
  call.caller.grants.require("agent", localNode(call), "write");
  return empty();
}

/** Who is in the cluster already has joined; others need the cluster's join token, which this call has no place for. */
export function agentJoin(call: Call): HttpResponse {
  call.caller.grants.require("agent", localNode(call), "write");
  if (call.rest === "") throw badRequest("Missing address to join");
  const host = call.rest.replace(/:\d+$/, "");
  const known = call.backend.members().some(({ address, name }) => address === host || name === host);
  if (known || SELF.has(host)) return empty();
  throw registryError(
    500,
    `1 error occurred:\n\t* Failed to join ${call.rest}: it is no member of this cluster; a node joins when its own agent starts, with the cluster's join token\n\n`,
  );
}

const SELF: ReadonlySet<string> = new Set(["127.0.0.1", "localhost", "::1", "[::1]"]);

export async function agentLeave(call: Call): Promise<HttpResponse> {
  const node = localNode(call);
  call.caller.grants.require("agent", node, "write");
  if (call.backend.leave !== undefined) {
    await call.backend.leave(node);
    return empty();
  }
  // Leaving ends the containers of a host: whoever does that says so on the host itself.
  throw registryError(
    400,
    'Cannot leave over this API: run "apollo agent leave" on the host, or use force-leave for a dead one',
  );
}

/** `prune` also takes a node out of the list of those that have left. */
export async function agentForceLeave(call: Call): Promise<HttpResponse> {
  call.caller.grants.require("operator", "", "write");
  if (call.rest === "") throw badRequest("Missing node name");
  await call.backend.forceLeave(call.rest, call.request.query.get("prune") !== null);
  return empty();
}
