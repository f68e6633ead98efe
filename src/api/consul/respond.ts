import type { Query } from "../../discovery/registry/registry.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import { type AppError, HTTP_STATUS } from "../../model/error.ts";
import { renderExactJson } from "../../model/exact-json.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import { questionOf } from "./shared-answers.ts";

/** Each costs some kilobytes; more clients than this are a fault of theirs. */
const WAITING_MAX = 50_000;

/** On every answer. */
export const POLICY_HEADER = "x-consul-default-acl-policy";

type Headers = Readonly<Record<string, string>>;

export function json(call: Pick<Call, "pretty">, value: unknown, headers: Headers = {}): HttpResponse {
  return jsonWith(200, call, { value, headers });
}

export function jsonWith(
  status: number,
  call: Pick<Call, "pretty">,
  { value, headers = {} }: { readonly value: unknown; readonly headers?: Headers },
): HttpResponse {
  const body = call.pretty ? `${renderExactJson(value, 4)}\n` : renderExactJson(value);
  return { status, headers: { "content-type": "application/json", vary: "Accept-Encoding", ...headers }, body };
}

/** Consul's errors are plain text. */
export function text(status: number, body: string, headers: Headers = {}): HttpResponse {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body };
}

/** What most writes of agents answer. */
export function empty(status = 200, headers: Headers = {}): HttpResponse {
  return { status, headers, body: "" };
}

/** Headers of every read; clients stop reading them at the first that they cannot parse, so all are there. */
export function readHeaders(call: Call, index: number | bigint): Headers {
  const { backend, consistency } = call;
  const isLed = backend.leader() !== "";
  const effective = !isLed ? "stale" : consistency === "default" ? "leader" : consistency;
  return {
    [POLICY_HEADER]: backend.defaultPolicy,
    "x-consul-index": String(index > 0 ? index : 1),
    "x-consul-knownleader": String(isLed),
    "x-consul-lastcontact": String(backend.lastContactMs?.() ?? 0),
    "x-consul-effective-consistency": effective,
    "x-consul-query-backend": "blocking-query",
    ...(call.request.query.get("cached") === null ? {} : { "x-cache": "MISS" }),
  };
}

/** Runs a blocking query and hands its result on with the headers of its index. */
export async function answerQuery<Value>(
  call: Call,
  query: Query<Value>,
  render: (value: Value, headers: Headers) => HttpResponse,
): Promise<HttpResponse> {
  const { minIndex, waitMs, request } = call;
  const { registry } = call.backend.parts;
  if (minIndex === 0n) return render(query.read(), readHeaders(call, query.shown?.() ?? query.index()));
  if (registry.watches.waiting >= WAITING_MAX)
    throw registryError(429, "Too many requests wait for changes: try again later");
  const question = questionOf(call);
  const index = await registry.block(query, { minIndex, waitMs, signal: request.signal });
  return call.shared.once(call, `${index} ${question}`, () => render(query.read(), readHeaders(call, index)));
}

/** The same for what is answered as JSON as it is. */
export function answerJson<Value>(
  call: Call,
  query: Query<Value>,
  shape: (value: Value) => unknown,
): Promise<HttpResponse> {
  return answerQuery(call, query, (value, headers) => json(call, shape(value), headers));
}

export function renderError(error: AppError): HttpResponse {
  const { details } = error;
  // Inputs that the platform refuses are Consul's 400.
  const fallback = error.code === "invalid" ? 400 : HTTP_STATUS[error.code];
  const status = typeof details["status"] === "number" ? details["status"] : fallback;
  return text(status, error.message);
}

export function methodNotAllowed(method: string, allowed: readonly string[]): HttpResponse {
  return text(405, `method ${method} not allowed`, { allow: ["OPTIONS", ...allowed].join(",") });
}
