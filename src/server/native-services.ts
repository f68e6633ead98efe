import { renderAppJson, renderDeploymentJson, renderInstanceJson } from "../api/native/render-app.ts";
import type { NativeServices, NativeSockets } from "../api/native/services.ts";
import type { FeedState } from "../api/native/shapes.ts";
import type { AccessControl } from "../cluster/access.ts";
import { type ExplainInput, explainName } from "../discovery/explain-name.ts";
import type { AppSpec } from "../model/app.ts";
import { DEFAULT_CONTAINER_DOMAIN } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import { defaultServiceName, type HostId, type InstanceId } from "../model/ids.ts";
import type { ChannelRequest } from "../model/wire.ts";
import type { HttpUpgrade } from "../platform/ports/http.ts";
import { runDoctor } from "../network/doctor/run-doctor.ts";
import { runTrace } from "../network/trace/run-trace.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import { agentSocket } from "./agent-socket.ts";
import { virtualAddresses } from "../network/virtual-addresses.ts";
import type { ClusterServer } from "./cluster-server.ts";
import type { ConsoleFeed } from "./console-feed.ts";
import { containerSocket } from "./container-socket.ts";
import { askHost } from "./ask-host.ts";
import { networkObjects } from "./network-objects.ts";
import type { HostMembers } from "./host-members.ts";
import type { ServerViews } from "./server-views.ts";
import { traceWorld } from "./trace-world.ts";

export interface NativeServicesDeps {
  readonly server: ClusterServer;
  readonly views: ServerViews;
  readonly members: HostMembers;
  readonly feed: ConsoleFeed;
  readonly access: AccessControl;
  readonly version: string;
  readonly ca: string;
  readonly joinToken: string;
  readonly random: Random;
  readonly log: Log;
}

/** Types that the hosts' DNS knows; the others are answered with "no such data". */
const DNS_TYPES: ReadonlySet<string> = new Set(["A", "AAAA", "SRV", "TXT", "PTR", "SOA", "NS", "ANY"]);

/** What the native API asks of a server. */
export function nativeServices(deps: NativeServicesDeps): NativeServices {
  const { server, views, members, access } = deps;
  return {
    version: deps.version,
    ca: deps.ca,
    hosts: () => views.hosts(),
    setCordoned: async (name, cordoned) => views.host(await members.setCordoned(name, cordoned)),
    removeHost: (name, { force }) => members.remove(name, force),
    status: () => views.status(),
    services: () => views.services(),
    serviceOf,
    dns: async (name, type) => {
      if (!DNS_TYPES.has(type)) {
        throw new AppError("invalid", `Cannot ask DNS for type "${type}"`, {
          hint: `Types are ${[...DNS_TYPES].join(", ")}`,
        });
      }
      return explainName(knownNames(server), name, type);
    },
    doctor: (host) => {
      const hosts = views.hosts();
      if (host !== null && !hosts.some(({ name }) => name === host)) {
        throw new AppError("not-found", `Cannot find host "${host}"`, { hint: "apollo host list" });
      }
      const world = traceWorld(server, () => knownNames(server));
      return runDoctor(world, { hosts, only: host, token: deps.random.uuid().replaceAll("-", "") });
    },
    trace: ({ here, ...question }) =>
      runTrace(
        traceWorld(server, () => knownNames(server)),
        question,
        here,
      ),
    network: networkObjects(server.state),
    ask: (hostName, question) => askHost(server, hostName, question),
    links: () => views.links(),
    dnsCounts: () => views.dnsCounts(),
    joinToken: () => deps.joinToken,
    join: async (request) => {
      const { host, credential, block } = await members.join(request);
      deps.log.info("host joined", { host: host.name, address: host.address, block });
      return { hostId: host.id, credential, block };
    },
    leave: async (hostId) => {
      const name = await members.leave(hostId);
      deps.log.info("host left", { host: name });
      return name;
    },
    openSession: (token) => access.openSession(token),
    sockets: nativeSockets(deps),
  };
}

function knownNames({ catalog, state, hub }: ClusterServer): ExplainInput {
  const {
    dnsDomain: domain,
    datacenter,
    containerDomain = DEFAULT_CONTAINER_DOMAIN,
    dns: settings = {},
  } = state.settings;
  const [endpoints, withheld, hosts] = [catalog.list(), catalog.withheld(), catalog.hosts()];
  const virtuals = virtualAddresses(state.networkObjectsOf("virtual"), state.settings);
  return {
    endpoints,
    withheld,
    hosts,
    virtuals,
    named: catalog.named(),
    domain,
    datacenter,
    containerDomain,
    queries: hub.consul?.queries ?? [],
    settings,
  };
}

/** The console's state: the same objects as the native API's lists. */
export function feedState(server: ClusterServer, views: ServerViews): FeedState {
  const apps = server.apps.list();
  return {
    hosts: views.hosts(),
    apps: apps.map((view) => renderAppJson(view, serviceOf(view.current.spec))),
    instances: server.apps.instances().map(renderInstanceJson),
    services: views.services(),
    deployments: server.apps.deployments().map(renderDeploymentJson),
  };
}

/** The name that instances of an app are registered under, as the agents derive it. */
function serviceOf(spec: AppSpec): string | null {
  const named = spec.env["SERVICE_NAME"] ?? spec.labels["SERVICE_NAME"];
  return named ?? (spec.ports.length > 0 ? defaultServiceName(spec.id) : null);
}

function nativeSockets({ server, feed, log }: NativeServicesDeps): NativeSockets {
  const openChannel = (instanceId: InstanceId, request: ChannelRequest): HttpUpgrade => {
    const session = server.hub.session(hostOf(server, instanceId));
    if (session === null) {
      throw new AppError("unavailable", `Cannot reach instance "${instanceId}": its host's agent is not connected`, {
        hint: "apollo host list",
      });
    }
    return { upgrade: containerSocket(server.channels, session, request) };
  };
  return {
    feed: () => ({
      upgrade: (socket) => {
        const client = { send: (text: string) => void socket.send(text) };
        feed.join(client);
        return { message: () => undefined, closed: () => feed.leave(client) };
      },
    }),
    agent: (_request, hostId) => ({ upgrade: agentSocket(server.hub, hostId, log) }),
    logs: (instanceId, options) => openChannel(instanceId, { kind: "logs", instanceId, sinceMs: null, ...options }),
    exec: (instanceId, options) => openChannel(instanceId, { kind: "exec", instanceId, ...options }),
  };
}

function hostOf(server: ClusterServer, instanceId: InstanceId): HostId {
  const instance = server.state.instances.get(instanceId);
  if (instance !== undefined) return instance.hostId;
  throw new AppError("not-found", `Cannot find instance "${instanceId}"`, { hint: "apollo ps" });
}
