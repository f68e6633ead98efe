import { AppError, HTTP_STATUS } from "../../model/error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { describeIssue } from "../read-json.ts";
import type { ErrorJson } from "./shapes.ts";

/** Answers hold live state; the console's origin is the only one to frame or sniff them. */
const HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff", "x-frame-options": "DENY" };

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): HttpResponse {
  const type = { "content-type": "application/json" };
  return { status, headers: { ...HEADERS, ...type, ...headers }, body: JSON.stringify(value) };
}

export function empty(status: number, headers: Readonly<Record<string, string>> = {}): HttpResponse {
  return { status, headers: { ...HEADERS, ...headers }, body: null };
}

export function pem(text: string): HttpResponse {
  return { status: 200, headers: { ...HEADERS, "content-type": "application/x-pem-file" }, body: text };
}

/** Prometheus' text format, version 0.0.4. */
export function metricsText(text: string): HttpResponse {
  const type = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
  return { status: 200, headers: { ...HEADERS, ...type }, body: text };
}

export function notFound(message: string, hint?: string): AppError {
  return new AppError("not-found", message, hint === undefined ? {} : { hint });
}

export function methodNotAllowed(allowed: readonly string[]): HttpResponse {
  const message = `Cannot do that here: use ${allowed.join(" or ")}`;
  return json(405, { error: { code: "invalid", message } } satisfies ErrorJson, { allow: allowed.join(", ") });
}

export function renderError(error: AppError): HttpResponse {
  const { status, kind: _, text, ...details } = error.details;
  const body: ErrorJson = {
    error: {
      code: error.code,
      message: typeof text === "string" ? `${error.message}: ${text}` : error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.fields.length === 0
        ? {}
        : { fields: error.fields.map(({ path, message }) => ({ path, message: describeIssue(message) })) }),
      ...(Object.keys(details).length === 0 ? {} : { details }),
    },
  };
  const code = typeof status === "number" ? status : HTTP_STATUS[error.code];
  // No WWW-Authenticate: browsers would put their own dialogue over the console's.
  return json(code, body);
}
