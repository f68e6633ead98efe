import type { ClusterSettings } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { ProxyAction, ProxyServer, ProxyState } from "../platform/ports/proxy.ts";
import { digest } from "./digest.ts";
import { type Backend, type BackendServer, backendName, planBackends } from "./plan-backends.ts";
import { planRoutes } from "./plan-routes.ts";
import type { ProxySettings } from "./proxy-settings.ts";
import { renderHaproxy } from "./render-haproxy.ts";

/** What the proxy of a host should serve. */
export interface DesiredProxy {
  readonly backends: readonly Backend[];
  readonly map: Readonly<Record<string, string>>;
  /** Whole file for a start from nothing. */
  readonly text: string;
  /** Digest of all that only a reload can change, but for the set of backends. */
  readonly structure: string;
  /** Wishes of services that cannot be met. */
  readonly problems: readonly string[];
}

/**
 * Backends of services that went stay in the running process, empty and without a name that leads to them, until the
 * next reload that something else causes: a service that comes back then needs none. More than this are a leak worth a
 * reload.
 */
export const SPARE_BACKENDS_MAX = 100;

export function desiredProxy(
  endpoints: readonly Endpoint[],
  cluster: Pick<ClusterSettings, "ingressDomain">,
  settings: ProxySettings,
): DesiredProxy {
  const { routes, problems } = planRoutes(endpoints, cluster);
  const backends = planBackends(routes, endpoints);
  const structure = digest(renderHaproxy({ backends: [], settings, structure: "" }));
  return {
    backends,
    map: Object.fromEntries(routes.map((route) => [route.hostname, backendName(route.service)])),
    text: renderHaproxy({ backends, settings, structure }),
    structure,
    problems,
  };
}

/**
 * Steps from what runs to what is wanted. Servers and names change over the socket; only a new backend, another
 * structure or a dead process needs a load. New servers serve before old ones leave; a server leaves by `maint` (no new
 * requests, those under way go on) and is deleted by a later pass that sees it without connections.
 */
export function planProxy(desired: DesiredProxy, observed: ProxyState): readonly ProxyAction[] {
  if (needsLoad(desired, observed)) {
    return [{ kind: "load", text: desired.text, map: desired.map, structure: desired.structure }];
  }
  const wanted = wantedServers(desired);
  const running = new Map(observed.servers.map((server) => [keyOf(server), server]));
  const wantedKeys = new Set(wanted.map(keyOf));
  const leaving = observed.servers
    .filter((server) => !wantedKeys.has(keyOf(server)))
    .toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return [
    ...wanted.flatMap((server) => arrive(server, running.get(keyOf(server)))),
    ...planMap(desired.map, observed.map),
    ...leaving.flatMap(leave),
    ...planSave(desired, observed),
  ];
}

/** Servers that serve nothing new any more but still have requests under way, as `backend/name`; sorted. */
export function busyLeavers(desired: DesiredProxy, observed: ProxyState): readonly string[] {
  const wanted = new Set(wantedServers(desired).map(keyOf));
  return observed.servers
    .filter((server) => server.sessions > 0 && !wanted.has(keyOf(server)))
    .map(keyOf)
    .toSorted();
}

function needsLoad(desired: DesiredProxy, observed: ProxyState): boolean {
  if (!observed.running || observed.structure !== desired.structure) return true;
  const running = new Set(observed.backends);
  if (desired.backends.some((backend) => !running.has(backend.name))) return true;
  return observed.backends.length - desired.backends.length > SPARE_BACKENDS_MAX;
}

type PlacedServer = BackendServer & { readonly backend: string };

function wantedServers(desired: DesiredProxy): readonly PlacedServer[] {
  return desired.backends.flatMap((backend) => backend.servers.map((server) => ({ ...server, backend: backend.name })));
}

function keyOf(server: { readonly backend: string; readonly name: string }): string {
  return `${server.backend}/${server.name}`;
}

function arrive({ backend, name, address, port }: PlacedServer, running: ProxyServer | undefined): ProxyAction[] {
  if (running === undefined) {
    return [
      { kind: "add-server", backend, name, address, port },
      { kind: "set-server", backend, name, state: "ready" },
    ];
  }
  return running.state === "ready" ? [] : [{ kind: "set-server", backend, name, state: "ready" }];
}

function leave({ backend, name, state, sessions, idle }: ProxyServer): ProxyAction[] {
  if (state !== "maint") return [{ kind: "set-server", backend, name, state: "maint" }];
  return sessions === 0 && idle === 0 ? [{ kind: "delete-server", backend, name }] : [];
}

function planMap(desired: Readonly<Record<string, string>>, observed: Readonly<Record<string, string>>): ProxyAction[] {
  const puts = Object.entries(desired)
    .filter(([key, value]) => observed[key] !== value)
    .map(([key, value]): ProxyAction => ({ kind: "put-map", key, value }));
  const deletes = Object.keys(observed)
    .filter((key) => desired[key] === undefined)
    .toSorted()
    .map((key): ProxyAction => ({ kind: "delete-map", key }));
  return [...puts, ...deletes];
}

function planSave(desired: DesiredProxy, observed: ProxyState): ProxyAction[] {
  const { text, map } = desired;
  const same = observed.saved !== null && observed.saved.text === text && planMap(map, observed.saved.map).length === 0;
  return same ? [] : [{ kind: "save", text, map }];
}
