/** Checks as a host runs them, and what they say. Definitions carry Consul's fields under Consul's names. */
export type CheckStatus = "passing" | "warning" | "critical";

/** Whose scripts a host runs as checks: nobody's, those of its own configuration files, or all that clients register. */
export type ScriptChecks = "off" | "local" | "all";

/** A check that somebody declared for a host or a service on it. */
export interface HostCheck {
  /** Unique on its host. */
  readonly id: string;
  /** Consul's word for what is done: "http", "tcp", "script", … */
  readonly type: string;
  /** Consul's fields: `HTTP`, `Interval`, `Timeout`, `FailuresBeforeCritical`, … */
  readonly definition: Readonly<Record<string, unknown>>;
  /** What it said last, or says until it was tried. */
  readonly status: CheckStatus;
  /** A container of this host declares it about itself: its commands run inside that container and nowhere else. */
  readonly declaredByContainer?: boolean;
}

export interface HostCheckResult {
  readonly id: string;
  readonly status: CheckStatus;
  /** For people, cut at the check's limit. */
  readonly output: string;
}

/** Longest output that is kept, in characters, whatever a definition asks for. */
export const CHECK_OUTPUT_MAX = 4096;
