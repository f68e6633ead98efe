/** What is to be seen next: an address that is or is not there, or so many addresses. */
export type Step = { readonly address: string; readonly present: boolean } | { readonly count: number };

export interface Expectation {
  /** The name whose A records are asked for. */
  readonly name: string;
  /** The same service in HAProxy. */
  readonly backend: string;
  readonly dnsPort: number;
  /** HAProxy's admin socket. */
  readonly proxySocket: string;
  readonly steps: readonly Step[];
}

/** When each step was seen, by `sharedMs`. */
export interface Seen {
  readonly dns: readonly number[];
  readonly proxy: readonly number[];
}

export type ProbeCommand = { readonly id: number } & (
  | { readonly kind: "expect"; readonly expectation: Expectation }
  /** A request to Consul's API on this host. */
  | { readonly kind: "put"; readonly path: string; readonly body: unknown }
  /** Answers HTTP with that text from now on. */
  | { readonly kind: "serve"; readonly port: number; readonly text: string }
);

/**
 * Milliseconds with their fractions on the one clock that all processes share. `process.hrtime` is no such clock: Bun counts it from
 * the start of each process.
 */
export function sharedMs(): number {
  return performance.timeOrigin + performance.now();
}
