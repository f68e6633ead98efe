import { AppError, describeError, type ErrorCode, HTTP_STATUS } from "../model/error.ts";
import type { ErrorJson } from "../api/native/shapes.ts";
import type { Connection } from "./connection.ts";
import { Interrupted } from "./format-error.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

/** The slowest answer (all apps of a large cluster) takes about a second. */
const REQUEST_TIMEOUT_MS = 30_000;
const RESPONSE_BYTES_MAX = 256 * 1024 * 1024;

export interface RequestOptions {
  readonly body?: unknown;
  readonly timeoutMs?: number;
}

/**
 * The server's API. No request is repeated: the caller knows which of them may be. Answers are of the server that the
 * CA vouches for, so their fields are believed.
 */
export class ApolloClient {
  readonly connection: Connection;
  readonly #signal: AbortSignal;

  constructor(connection: Connection, signal: AbortSignal) {
    this.connection = connection;
    this.#signal = signal;
  }

  async get<T>(path: string, options: RequestOptions = {}): Promise<T> {
    return await this.request<T>("GET", path, options);
  }

  /** Null where the server knows no such thing. */
  async find<T>(path: string): Promise<T | null> {
    try {
      return await this.get<T>(path);
    } catch (error) {
      if (error instanceof AppError && error.code === "not-found") return null;
      throw error;
    }
  }

  /** @throws AppError with the code, text and fields of the server's answer, or `unavailable` without one. */
  async request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const timeout = AbortSignal.timeout(options.timeoutMs ?? REQUEST_TIMEOUT_MS);
    try {
      const response = await fetch(`${this.connection.url}${path}`, {
        method,
        redirect: "manual",
        headers: {
          accept: "application/json",
          ...this.headers(),
          ...(options.body === undefined ? {} : { "content-type": "application/json" }),
        },
        signal: AbortSignal.any([this.#signal, timeout]),
        tls: this.tls(),
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      });
      const text = await readBounded(response);
      if (!response.ok) throw responseError(response, text, `${method} ${path}`);
      return (text === "" ? null : parseJson(text, path)) as T;
    } catch (error) {
      if (error instanceof AppError) throw error;
      if (this.#signal.aborted) throw new Interrupted();
      throw connectionError(error, this.connection, timeout.aborted);
    }
  }

  headers(): Record<string, string> {
    return this.connection.token === null ? {} : { authorization: `Bearer ${this.connection.token}` };
  }

  /** For fetch and WebSocket alike. Bun checks chain and name against these (tested with a wrong CA and a wrong name). */
  tls(): { readonly ca?: string; readonly serverName?: string; readonly rejectUnauthorized: true } {
    const { ca } = this.connection;
    return ca === null ? { rejectUnauthorized: true } : { ca, serverName: SERVER_TLS_NAME, rejectUnauthorized: true };
  }
}

/** Path of an app: the id without its leading slash, encoded as one segment. */
export function appPath(id: string, rest = ""): string {
  return `/api/apps/${encodeURIComponent(id.replace(/^\/+/, ""))}${rest}`;
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > RESPONSE_BYTES_MAX) {
      throw new AppError(
        "unavailable",
        `Cannot read the server's answer: it is longer than ${RESPONSE_BYTES_MAX} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("unavailable", `Cannot read the server's answer to ${path}: it is not JSON`, {
      cause,
      hint: "Check that the address is that of an Apollo server",
    });
  }
}

function responseError(response: Response, text: string, what: string): AppError {
  const body = errorBody(text);
  const code = body?.code ?? codeOfStatus(response.status);
  const message = body?.message ?? `Cannot ${what}: the server answers with status ${response.status}`;
  const tokenHint =
    response.status === 401 ? "Give the token of the server's admin.json with APOLLO_TOKEN or --token" : undefined;
  const hint = body?.hint ?? tokenHint;
  return new AppError(code, message, {
    ...(hint === undefined ? {} : { hint }),
    fields: body?.fields ?? [],
    details: (body?.details ?? {}) as AppError["details"],
  });
}

interface ErrorBody {
  readonly code?: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly fields?: AppError["fields"];
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The native form, or Marathon's `{"message"}`. */
function errorBody(text: string): ErrorBody | null {
  try {
    const value = JSON.parse(text) as Partial<ErrorJson> & { readonly message?: unknown };
    const { error, message } = value;
    if (error !== undefined) {
      const { code, ...rest } = error;
      return code in HTTP_STATUS ? { ...rest, code: code as ErrorCode } : rest;
    }
    return typeof message === "string" ? { message } : null;
  } catch {
    return null;
  }
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return "denied";
  if (status === 400) return "invalid";
  const entry = Object.entries(HTTP_STATUS).find(([, value]) => value === status);
  return (entry?.[0] as ErrorCode | undefined) ?? (status < 500 ? "invalid" : "unavailable");
}

/** What went wrong before there was an answer. */
export function connectionError(error: unknown, connection: Connection, timedOut: boolean): AppError {
  const { url, source } = connection;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const text = `${code} ${describeError(error)}`;
  if (timedOut) {
    return new AppError("unavailable", `Cannot reach the server at ${url}: no answer in time`, {
      cause: error,
      hint: `Check that it runs; the address is from ${source}`,
    });
  }
  if (/CERT|VERIFY|SELF_SIGNED|certificate|altnames/i.test(text)) {
    return new AppError("denied", `Cannot trust the server at ${url}: its certificate is not of the expected CA`, {
      cause: error,
      hint: "Use the admin.json of this server, or give its CA with --ca; do not go on if you did not expect this",
      details: { tls: code || describeError(error) },
    });
  }
  const why = /refused|ConnectionRefused/i.test(text) ? "nothing listens there" : describeError(error);
  return new AppError("unavailable", `Cannot reach the server at ${url}: ${why}`, {
    cause: error,
    hint: `Check that it runs and that the address, from ${source}, is right; "apollo up" starts one here`,
  });
}
