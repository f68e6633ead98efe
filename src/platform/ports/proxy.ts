/** Where the proxy of this host keeps its files. */
export interface ProxyPaths {
  readonly config: string;
  /** Outside name → backend. */
  readonly map: string;
  /** Unix socket for changes without a reload. */
  readonly socket: string;
  readonly pid: string;
}

/** The files' names in the run directory: the text that is rendered and the adapter that runs it must agree on them. */
export function proxyPaths(runDir: string): ProxyPaths {
  return {
    config: `${runDir}/haproxy.cfg`,
    map: `${runDir}/hosts.map`,
    socket: `${runDir}/admin.sock`,
    pid: `${runDir}/haproxy.pid`,
  };
}

/** What the running HAProxy has for one server of a backend. */
export interface ProxyServer {
  readonly backend: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly state: "ready" | "drain" | "maint";
  /** Requests under way on it, queued ones included. */
  readonly sessions: number;
  /** Open connections to it that carry no request now; a server is only deleted when it has none. */
  readonly idle: number;
}

export interface ProxyState {
  readonly running: boolean;
  /** Digest of the structure that it was started or reloaded with, null when none. */
  readonly structure: string | null;
  /** Names of the backends it has, with and without servers. */
  readonly backends: readonly string[];
  readonly servers: readonly ProxyServer[];
  /** Entries of the host map. */
  readonly map: Readonly<Record<string, string>>;
  /** What is on disk for a cold start, null when nothing is. */
  readonly saved: { readonly text: string; readonly map: Readonly<Record<string, string>> } | null;
}

export type ProxyAction =
  /** Writes the whole configuration, checks it, and starts or reloads: the listening sockets are handed over, no connection is refused. */
  | {
      readonly kind: "load";
      readonly text: string;
      readonly map: Readonly<Record<string, string>>;
      readonly structure: string;
    }
  /** Keeps the file on disk equal to what runs, for a cold start without us. */
  | { readonly kind: "save"; readonly text: string; readonly map: Readonly<Record<string, string>> }
  /** The new server is in `maint` and takes no request until `set-server` makes it ready. */
  | {
      readonly kind: "add-server";
      readonly backend: string;
      readonly name: string;
      readonly address: string;
      readonly port: number;
    }
  | {
      readonly kind: "set-server";
      readonly backend: string;
      readonly name: string;
      readonly state: "ready" | "drain" | "maint";
    }
  /** Only a server in `maint` without sessions and idle connections goes; else AppError `conflict`. */
  | { readonly kind: "delete-server"; readonly backend: string; readonly name: string }
  | { readonly kind: "put-map"; readonly key: string; readonly value: string }
  | { readonly kind: "delete-map"; readonly key: string };

/** The HAProxy of this host. It outlives us: a restarted agent finds it again by its socket. */
export interface Proxy {
  observe(): Promise<ProxyState>;
  /**
   * @throws AppError `invalid` when HAProxy refuses a configuration (the last good one stays), `conflict` when a port is
   * taken (`details.reason` is "port-taken") or a server cannot be added or deleted now, `not-found` for a backend,
   * server or map key it does not have, `unavailable` when it does not answer.
   */
  apply(action: ProxyAction): Promise<void>;
  /** Ends it, connections included. Not running is fine. */
  stop(): Promise<void>;
}
