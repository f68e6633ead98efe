import type { ProxyPaths } from "../platform/ports/proxy.ts";

/** What an operator can set about the proxy of a host. */
export interface ProxySettings {
  readonly paths: ProxyPaths;
  /** HAProxy `bind` addresses of the HTTP entrance. */
  readonly httpBind: string;
  /** Address of the health page for an outer balancer, at `/haproxy_status`. */
  readonly statusBind: string;
  /** System user that HAProxy changes to after it has bound its ports; null keeps the one that starts it. */
  readonly user: string | null;
  readonly connectionsMax: number;
  readonly connectTimeoutMs: number;
  readonly clientTimeoutMs: number;
  readonly serverTimeoutMs: number;
}

/**
 * A container that was killed takes its address with it, and until that is known nobody refuses a connection there. A lost first
 * packet is sent again after 1 s; who does not answer by then is gone, and another server gets the request.
 */
const CONNECT_TIMEOUT_MS = 1200;

/** The ports and timeouts of 2015, but for the time to connect. Its 256 connections were few even then; 4,000 need about 8,100 files, and 128 MB of buffers when all are busy. */
export function defaultProxySettings(paths: ProxyPaths): ProxySettings {
  return {
    paths,
    httpBind: "*:80",
    statusBind: "*:34180",
    user: "haproxy",
    connectionsMax: 4000,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    clientTimeoutMs: 50_000,
    serverTimeoutMs: 50_000,
  };
}
