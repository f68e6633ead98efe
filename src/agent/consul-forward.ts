/**
 * Passes requests of Consul's API on to the server that this agent is connected to. Clients on one host that wait for the same
 * change share one request, so that a thousand of them cost the server what one costs.
 */
import { isBlocking } from "../api/consul/handler.ts";
import { readToken } from "../api/consul/call.ts";
import { tooManyRequests } from "../api/consul/limit-clients.ts";
import { AGENT_HEADER, type ClientRights, RIGHTS_HEADER, SCRIPTS_HEADER } from "../cluster/passed-on.ts";
import { AppError } from "../model/error.ts";
import type { ScriptChecks } from "../model/host-check.ts";
import type { HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import type { ServerApi } from "../platform/ports/server-api.ts";

export interface ConsulForwardOptions {
  readonly api: ServerApi;
  /** Of this host. */
  readonly credential: string;
  /** What this host runs of the scripts that such a request registers; missing: the server takes them all. */
  readonly scripts?: (request: HttpRequest) => ScriptChecks;
}

interface Shared {
  readonly answer: Promise<HttpResponse>;
  readonly end: AbortController;
  users: number;
}

/** Waiting requests leave so much room for those that are answered at once. */
const ROOM_FOR_SHORT = 56;
/** Beyond it, short ones are refused rather than queued. */
const SHORT_MAX = 1000;
/** What many share is kept whole. */
const SHARED_BYTES_MAX = 64 * 1024 * 1024;
const SENT_HEADERS = ["content-type", "accept-encoding"] as const;
const ANSWER_HEADERS = /^(x-|content-type$|content-encoding$|allow$|vary$|location$)/;

export class ConsulForward {
  readonly #options: ConsulForwardOptions;
  readonly #shared = new Map<string, Shared>();
  #short = 0;

  constructor(options: ConsulForwardOptions) {
    this.#options = options;
  }

  /** Distinct waits that are under way. */
  get waiting(): number {
    return this.#shared.size;
  }

  /** @throws AppError `unavailable` when the server gives no answer, 429 when too much is under way. */
  async forward(url: string, request: HttpRequest, rights: ClientRights): Promise<HttpResponse> {
    const body = request.method === "GET" ? null : await request.body();
    const sent = { url, method: request.method, target: targetOf(request), headers: this.#headersOf(request, rights) };
    if (request.method === "GET" && isBlocking(request)) return this.#share(sent, request.signal);
    if (this.#short >= SHORT_MAX) throw tooManyRequests();
    this.#short += 1;
    try {
      return onlyConsuls(await this.#options.api.send({ ...sent, body, signal: request.signal }));
    } finally {
      this.#short -= 1;
    }
  }

  #headersOf(request: HttpRequest, rights: ClientRights): Readonly<Record<string, string>> {
    const token = readToken(request);
    const kept = SENT_HEADERS.flatMap((name) => {
      const value = request.header(name);
      return value === null ? [] : [[name, value] as const];
    });
    const { scripts } = this.#options;
    return {
      ...Object.fromEntries(kept),
      // What reads is shared by its headers, and registers nothing.
      ...(scripts === undefined || request.method === "GET" ? {} : { [SCRIPTS_HEADER]: scripts(request) }),
      [AGENT_HEADER]: this.#options.credential,
      [RIGHTS_HEADER]: rights,
      ...(token === "" ? {} : { "x-consul-token": token }),
    };
  }

  async #share(sent: Sent, signal: AbortSignal): Promise<HttpResponse> {
    const { api } = this.#options;
    const key = JSON.stringify([sent.url, sent.target, sent.headers]);
    let shared = this.#shared.get(key);
    if (shared === undefined) {
      if (this.#shared.size >= api.concurrencyMax - ROOM_FOR_SHORT) throw tooManyRequests();
      const end = new AbortController();
      const answer = api.send({ ...sent, body: null, signal: end.signal }).then(keepWhole);
      shared = { answer, end, users: 0 };
      this.#shared.set(key, shared);
      const done = (): void => this.#forget(key, end);
      answer.then(done, done);
    }
    shared.users += 1;
    try {
      return await untilGone(shared.answer, signal);
    } finally {
      shared.users -= 1;
      if (shared.users === 0) {
        this.#forget(key, shared.end);
        shared.end.abort();
      }
    }
  }

  /** Who comes from now on asks anew. */
  #forget(key: string, end: AbortController): void {
    if (this.#shared.get(key)?.end === end) this.#shared.delete(key);
  }
}

interface Sent {
  readonly url: string;
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The token goes in a header: what is in a path gets into logs. */
function targetOf({ path, query }: HttpRequest): string {
  const search = new URLSearchParams();
  const names = query.names();
  for (const name of names) {
    if (name === "token" || (name.endsWith("[]") && names.includes(name.slice(0, -2)))) continue;
    for (const value of query.all(name)) search.append(name, value);
  }
  const text = search.toString();
  return text === "" ? path : `${path}?${text}`;
}

function onlyConsuls(answer: HttpResponse): HttpResponse {
  const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => ANSWER_HEADERS.test(name)));
  return { ...answer, headers };
}

async function keepWhole(answer: HttpResponse): Promise<HttpResponse> {
  const { body } = answer;
  if (body === null || typeof body === "string" || body instanceof Uint8Array) return onlyConsuls(answer);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
    size += bytes.byteLength;
    if (size > SHARED_BYTES_MAX)
      throw new AppError("unavailable", `Cannot pass the answer on: it is longer than ${SHARED_BYTES_MAX} bytes`);
    chunks.push(bytes);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return onlyConsuls({ ...answer, body: whole });
}

function untilGone<Value>(value: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const { promise, resolve, reject } = Promise.withResolvers<Value>();
  const gone = (): void => reject(new AppError("unavailable", "Cannot pass the answer on: the client has gone"));
  if (signal.aborted) gone();
  signal.addEventListener("abort", gone);
  value.then(resolve, reject);
  return promise.finally(() => signal.removeEventListener("abort", gone));
}
