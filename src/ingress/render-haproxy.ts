import { formatEndpoint } from "../model/ip6.ts";
import type { Backend } from "./plan-backends.ts";
import type { ProxySettings } from "./proxy-settings.ts";

/**
 * Sessions that outlive a reload (WebSockets, downloads) keep the process before it alive for this long at most, so
 * that many reloads do not pile up processes.
 */
const OLD_PROCESS_MAX = "15m";
/** After a reload, the old process may serve this long on connections that clients left open and idle. */
const IDLE_CLIENT_MS = 10_000;
/** WebSockets and other upgraded connections may be quiet for this long. */
const TUNNEL_TIMEOUT = "1h";

/** What HAProxy is started with; `structure` tells its versions apart. */
export interface RenderInput {
  readonly backends: readonly Backend[];
  readonly settings: ProxySettings;
  /** Shown by `show info`, so that a later agent sees what the running process was made from. */
  readonly structure: string;
}

/** The whole haproxy.cfg. Equal input, equal text: no time, no order of insertion. Written for HAProxy 2.6. */
export function renderHaproxy(input: RenderInput): string {
  const backends = input.backends.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return [
    "# Written by the Apollo agent and replaced at each change: edits are lost.",
    ...globalSection(input),
    "",
    ...defaultsSection(input.settings),
    "",
    ...httpFrontend(input.settings),
    "",
    ...statusFrontend(input.settings, backends),
    ...backends.flatMap((backend) => ["", ...backendSection(backend)]),
    "",
  ].join("\n");
}

function globalSection({ settings, structure }: RenderInput): readonly string[] {
  return [
    "global",
    `  description apollo-structure-${structure}`,
    `  maxconn ${settings.connectionsMax}`,
    "  # A host with a low limit of open files gets fewer connections, not none.",
    "  no strict-limits",
    "  # Without it the kernel would share port 80 between us and another HAProxy instead of saying that it is taken.",
    "  noreuseport",
    `  hard-stop-after ${OLD_PROCESS_MAX}`,
    `  stats socket ${settings.paths.socket} mode 600 level admin expose-fd listeners`,
    ...(settings.user === null ? [] : [`  user ${settings.user}`]),
  ];
}

function defaultsSection(settings: ProxySettings): readonly string[] {
  return [
    "defaults",
    "  mode http",
    `  timeout connect ${settings.connectTimeoutMs}ms`,
    `  timeout client ${settings.clientTimeoutMs}ms`,
    `  timeout server ${settings.serverTimeoutMs}ms`,
    `  timeout http-keep-alive ${IDLE_CLIENT_MS}ms`,
    `  timeout http-request ${settings.clientTimeoutMs}ms`,
    `  timeout tunnel ${TUNNEL_TIMEOUT}`,
    "  # A reload answers the next request of an idle connection and closes it then, instead of cutting it while the",
    "  # client may be sending.",
    "  option idle-close-on-response",
    "  option forwardfor",
    "  # Another server at each retry: the one that refused is most likely gone.",
    "  option redispatch 1",
    "  retries 3",
    "  retry-on conn-failure empty-response",
  ];
}

function httpFrontend(settings: ProxySettings): readonly string[] {
  return [
    "frontend http",
    `  bind ${settings.httpBind}`,
    `  http-request set-var(txn.backend) req.hdr(host),field(1,:),rtrim(.),lower,map(${settings.paths.map})`,
    '  http-request return status 503 content-type "text/plain; charset=utf-8" hdr x-content-type-options nosniff lf-string "No service has the name \\"%[req.hdr(host),field(1,:)]\\" here.\\n" unless { var(txn.backend) -m found }',
    "  # A request may be sent twice only if that cannot do a thing twice. A connection that was refused is retried in any case.",
    "  http-request disable-l7-retry unless METH_GET",
    "  use_backend %[var(txn.backend)]",
  ];
}

function statusFrontend(settings: ProxySettings, backends: readonly Backend[]): readonly string[] {
  return [
    "frontend status",
    `  bind ${settings.statusBind}`,
    "  monitor-uri /haproxy_status",
    ...backends.map((backend) => `  acl usable nbsrv(${backend.name}) gt 0`),
    backends.length === 0 ? "  monitor fail if TRUE" : "  monitor fail unless usable",
    '  http-request return status 404 content-type text/plain string "Only /haproxy_status is here.\\n"',
  ];
}

function backendSection(backend: Backend): readonly string[] {
  return [
    `backend ${backend.name}`,
    "  balance roundrobin",
    // Not an `http-request return … if { nbsrv lt 1 }`: after a reload, the old process counts no server of a backend that
    // stops, and would refuse the last request of each idle client (HAProxy 2.6).
    `  http-error status 503 content-type "text/plain; charset=utf-8" string "Service ${backend.service} has no healthy instance.\\n"`,
    ...backend.servers.map((server) => `  server ${server.name} ${formatEndpoint(server.address, server.port)}`),
  ];
}
