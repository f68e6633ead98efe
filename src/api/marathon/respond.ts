import { AppError, HTTP_STATUS } from "../../model/error.ts";
import type { HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { DeploymentRef } from "../../scheduling/app-service.ts";
import type { Json } from "./render-definition.ts";

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): HttpResponse {
  return { status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(value) };
}

export function text(body: string): HttpResponse {
  return { status: 200, headers: { "content-type": "text/plain; charset=utf-8" }, body };
}

export function empty(status: number): HttpResponse {
  return { status, headers: {}, body: null };
}

/** Every change answers so: which deployment carries it out. */
export function deploymentResult(ref: DeploymentRef, status = 200): HttpResponse {
  return json(status, { version: ref.version, deploymentId: ref.deploymentId }, deploymentHeader(ref));
}

export function deploymentHeader(ref: DeploymentRef): Readonly<Record<string, string>> {
  return { "marathon-deployment-id": ref.deploymentId };
}

export function notFound(what: string): AppError {
  return new AppError("not-found", what);
}

export function badRequest(message: string): AppError {
  return new AppError("invalid", message, { details: { status: 400 } });
}

export function methodNotAllowed(allowed: readonly string[]): HttpResponse {
  return json(405, { message: "Method Not Allowed" }, { allow: allowed.join(", ") });
}

/** An operating error in Marathon's form. */
export function renderError(error: AppError): HttpResponse {
  const { details } = error;
  const status = typeof details["status"] === "number" ? details["status"] : HTTP_STATUS[error.code];
  const headers: Record<string, string> = status === 401 ? { "www-authenticate": 'Basic realm="Apollo"' } : {};
  return json(status, errorBody(error), headers);
}

function errorBody(error: AppError): Json {
  const { code, fields, details } = error;
  if (code === "invalid" && fields.length > 0) {
    const message = details["kind"] === "form" ? "Invalid JSON" : "Object is not valid";
    return { message, details: groupByPath(fields) };
  }
  // What the JSON parser said, where Marathon's clients look for it.
  if (typeof details["text"] === "string") return { message: error.message, details: details["text"] };
  const locks = details["deployments"];
  if (code === "conflict" && Array.isArray(locks)) {
    return {
      message:
        "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
      deployments: (locks as readonly string[]).map((id) => ({ id })),
    };
  }
  return { message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
}

function groupByPath(fields: AppError["fields"]): readonly Json[] {
  const groups = Map.groupBy(fields, (field) => field.path);
  return [...groups].map(([path, found]) => ({ path, errors: found.map((field) => field.message) }));
}

/** `?force=true`. */
export function flag(request: HttpRequest, name: string, otherwise = false): boolean {
  const value = request.query.get(name);
  return value === null ? otherwise : value === "true" || value === "";
}
