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

/** When each step was seen, in milliseconds of the monotonic clock. */
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

/** The kernel's clock, the same for all processes. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
