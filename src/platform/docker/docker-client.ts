import type { Readable } from "node:stream";
import Docker from "dockerode";
import { AppError } from "../../model/error.ts";
import { dockerError } from "./docker-error.ts";
import type { DockerAttempt } from "./docker-error.ts";

export interface DockerRequest {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** What is tried with what, for the error's text. */
  readonly attempt: DockerAttempt;
  /** Time until the answer (of a stream: until it begins). Default 10 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Oldest API we were tried with (Docker 20.10 speaks 1.41); newer engines refuse versions that we need not send. */
const API_OLDEST = [1, 40] as const;
/** Beyond it, meanings may have changed: a newer engine still speaks this one. */
const API_NEWEST = [1, 52] as const;
const ANSWER_TIMEOUT_MS = 10_000;
const OK = [200, 201, 204, 304] as const;

/** The engine's HTTP API with one error mapping, one way to wait and a version that both sides speak. */
export class DockerClient {
  readonly #socketPath: string;
  #negotiated: Promise<Docker> | null = null;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The answer's JSON. @throws AppError as `dockerError` maps it. */
  async call(request: DockerRequest): Promise<unknown> {
    return this.#dial(request, { isStream: false });
  }

  /** The answer as it comes. With `hijack` the raw connection, to be written to as well. The caller destroys it. */
  async stream(request: DockerRequest & { readonly hijack?: boolean }): Promise<Readable> {
    return (await this.#dial(request, { isStream: true, hijack: request.hijack === true })) as Readable;
  }

  async #dial(request: DockerRequest, mode: { isStream: boolean; hijack?: boolean }): Promise<unknown> {
    const docker = await this.#connect();
    try {
      return await dial(docker, request, mode);
    } catch (error) {
      const mapped = error instanceof AppError ? error : dockerError(error, request.attempt);
      // Another version of the engine may answer when it is back.
      if (mapped.code === "unavailable") this.#negotiated = null;
      throw mapped;
    }
  }

  #connect(): Promise<Docker> {
    this.#negotiated ??= this.#negotiate().catch((error: unknown) => {
      this.#negotiated = null;
      throw error;
    });
    return this.#negotiated;
  }

  async #negotiate(): Promise<Docker> {
    // An empty host keeps DOCKER_HOST of our environment from leading us to another engine than the configured one.
    const options = { socketPath: this.#socketPath, host: "", protocol: "http" } as const;
    const attempt = { what: "ask the container engine for its version", object: this.#socketPath };
    const answer = await dial(
      new Docker(options),
      { method: "GET", path: "/version", attempt },
      { isStream: false },
    ).catch((error: unknown) => {
      throw error instanceof AppError ? error : dockerError(error, attempt);
    });
    return new Docker({
      ...options,
      version: `v${chooseApiVersion(answer as { ApiVersion?: string; MinAPIVersion?: string })}`,
    });
  }
}

/** The newest API version that we and the engine speak. @throws AppError `unavailable` when there is none. */
export function chooseApiVersion(engine: { readonly ApiVersion?: string; readonly MinAPIVersion?: string }): string {
  const newest = parseApiVersion(engine.ApiVersion ?? "");
  const oldest = parseApiVersion(engine.MinAPIVersion ?? "1.12");
  const chosen = isOlder(API_NEWEST, newest) ? API_NEWEST : newest;
  if (isOlder(chosen, API_OLDEST) || isOlder(chosen, oldest)) {
    throw new AppError(
      "unavailable",
      `Cannot use the container engine: it speaks API ${engine.MinAPIVersion ?? "?"} to ${engine.ApiVersion ?? "?"}, we ${API_OLDEST.join(".")} to ${API_NEWEST.join(".")}`,
      { hint: "Install Docker 20.10 or newer" },
    );
  }
  return chosen.join(".");
}

type ApiVersion = readonly [number, number];

function parseApiVersion(text: string): ApiVersion {
  const [major = 0, minor = 0] = text.split(".").map(Number);
  return [major, minor];
}

function isOlder(a: ApiVersion, b: ApiVersion): boolean {
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
}

function dial(
  docker: Docker,
  request: DockerRequest,
  mode: { readonly isStream: boolean; readonly hijack?: boolean },
): Promise<unknown> {
  const timeoutMs = request.timeoutMs ?? ANSWER_TIMEOUT_MS;
  const abort = new AbortController();
  const relay = (): void => abort.abort();
  request.signal?.addEventListener("abort", relay);
  if (request.signal?.aborted === true) relay();
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const timer = setTimeout(() => {
    reject(
      new AppError("unavailable", `Cannot ${request.attempt.what}: no answer within ${timeoutMs / 1000} s`, {
        hint: "See whether the container engine is overloaded or hangs: docker ps",
        details: { object: "engine" },
      }),
    );
    abort.abort();
  }, timeoutMs);
  const options = {
    path: `${request.path}?`,
    method: request.method,
    options: { _query: request.query ?? {}, _body: request.body ?? {} },
    abortSignal: abort.signal,
    statusCodes: Object.fromEntries(OK.map((code) => [code, true])),
    isStream: mode.isStream,
    hijack: mode.hijack === true,
    openStdin: mode.hijack === true,
  };
  docker.modem.dial(options, (error: unknown, data: unknown) => (error ? reject(error) : resolve(data)));
  return promise.finally(() => {
    clearTimeout(timer);
    // An aborted signal also ends the stream, so it stays tied to the caller's for as long as that lives.
    if (!mode.isStream) request.signal?.removeEventListener("abort", relay);
  });
}
