import type { CheckStatus } from "../../model/host-check.ts";

/** Whom to ask over TLS, and how much of it to believe. */
export interface CheckTls {
  /** Name that the certificate must have; "" for the host that is dialled. */
  readonly serverName: string;
  readonly skipVerify: boolean;
}

/** One thing that a check may do. */
export type CheckTarget =
  | {
      readonly kind: "http";
      /** http or https. */
      readonly url: string;
      readonly method: string;
      readonly headers: Readonly<Record<string, readonly string[]>>;
      readonly body: string;
      readonly tls: CheckTls;
      readonly followRedirects: boolean;
    }
  /** `tls` null: plain. */
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls: CheckTls | null }
  | { readonly kind: "udp"; readonly host: string; readonly port: number }
  | {
      readonly kind: "grpc";
      readonly host: string;
      readonly port: number;
      /** "" asks for the server as a whole. */
      readonly service: string;
      readonly tls: CheckTls | null;
    }
  | { readonly kind: "h2ping"; readonly host: string; readonly port: number; readonly tls: CheckTls | null }
  | { readonly kind: "script"; readonly argv: readonly string[] }
  | {
      readonly kind: "docker";
      readonly container: string;
      readonly argv: readonly string[];
      /** The container itself declares it; else somebody who may register checks. */
      readonly declared: boolean;
    }
  | { readonly kind: "os-service"; readonly name: string };

export interface CheckAnswer {
  readonly status: CheckStatus;
  readonly output: string;
}

export interface CheckRunLimits {
  readonly timeoutMs: number;
  /** Output is cut there, in characters. */
  readonly outputMax: number;
  readonly signal: AbortSignal;
}

/** Tries a check once. Never rejects: what goes wrong is an answer. Null: nothing can be said, as when the engine is away. */
export interface CheckRunner {
  run(target: CheckTarget, limits: CheckRunLimits): Promise<CheckAnswer | null>;
}
