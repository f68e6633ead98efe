/** What the running HAProxy has for one server of a backend. */
export interface ProxyServer {
  readonly backend: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly state: "ready" | "drain" | "maint";
  readonly sessions: number;
}

export interface ProxyState {
  readonly running: boolean;
  /** Digest of the structure that it was started or reloaded with, null when none. */
  readonly structure: string | null;
  readonly servers: readonly ProxyServer[];
  /** Entries of the host map. */
  readonly map: Readonly<Record<string, string>>;
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
  /** Only a server in `maint` without sessions goes; else AppError `conflict`. */
  | { readonly kind: "delete-server"; readonly backend: string; readonly name: string }
  | { readonly kind: "put-map"; readonly key: string; readonly value: string }
  | { readonly kind: "delete-map"; readonly key: string };

/** The HAProxy of this host. It outlives us: a restarted agent finds it again by its socket. */
export interface Proxy {
  observe(): Promise<ProxyState>;
  /** @throws AppError `invalid` when HAProxy refuses a configuration (the last good one stays), `unavailable` when it does not answer. */
  apply(action: ProxyAction): Promise<void>;
  stop(): Promise<void>;
}
