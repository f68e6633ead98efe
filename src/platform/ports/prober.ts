import type { HostAddress } from "../../model/ip6.ts";

export interface HttpProbe {
  readonly address: HostAddress;
  readonly port: number;
  /** With its query. */
  readonly path: string;
  /** Certificates are not verified: a check asks whether the instance lives, not who it is. */
  readonly tls: boolean;
  readonly timeoutMs: number;
}

/** `cause` is for people: "connection refused". */
export type ProbeResult<Answer> =
  | { readonly ok: true; readonly answer: Answer }
  | { readonly ok: false; readonly cause: string };

/** Asks instances whether they live. Never rejects: that they do not is an answer. */
export interface Prober {
  /** The status of the first answer; redirects are not followed, and little of the body is read. */
  http(probe: HttpProbe): Promise<ProbeResult<number>>;
  /** Opens a connection and closes it. */
  tcp(address: HostAddress, port: number, timeoutMs: number): Promise<ProbeResult<null>>;
}
