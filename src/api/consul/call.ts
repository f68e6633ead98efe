/** A request as the routes see it: parameters that all of Consul's endpoints share, read and checked once. */
import { parseDuration } from "../../discovery/registry/parse-duration.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { Caller, ConsulBackend } from "./backend.ts";
import type { SharedAnswers } from "./shared-answers.ts";

export type Consistency = "default" | "consistent" | "stale";

/** What all calls have in common. */
export interface Api {
  readonly backend: ConsulBackend;
  readonly shared: SharedAnswers;
}

export interface Call extends Api {
  readonly request: HttpRequest;
  /** Decoded rest of the path behind the route. */
  readonly rest: string;
  readonly caller: Caller;
  readonly consistency: Consistency;
  readonly minIndex: bigint;
  readonly waitMs: number;
  readonly pretty: boolean;
}

export type Route = (call: Call) => HttpResponse | Promise<HttpResponse>;

const WAIT_MS = { default: 300_000, max: 600_000 } as const;
const INDEX_MAX = 2n ** 64n - 1n;

/** @throws AppError with Consul's text for anything that cannot be read. */
export function readCall({ backend, shared }: Api, request: HttpRequest, rest: string): Call {
  const { query } = request;
  checkEnterprise(request);
  const dc = query.get("datacenter") ?? query.get("dc");
  if (dc !== null && dc !== "" && dc !== backend.datacenter()) throw registryError(500, "No path to datacenter");
  return {
    backend,
    shared,
    request,
    rest,
    caller: backend.caller(request, readToken(request)),
    consistency: readConsistency(request),
    minIndex: readIndex(query.get("index")),
    waitMs: readWait(query.get("wait")),
    pretty: isSet(request, "pretty"),
  };
}

/** The query wins over the headers. */
export function readToken(request: HttpRequest): string {
  const given = request.query.get("token") ?? request.header("x-consul-token");
  if (given !== null && given !== "") return given.trim();
  return /^bearer +(\S+)$/i.exec(request.header("authorization")?.trim() ?? "")?.[1] ?? "";
}

/** Present, whatever its value, but for the ways to say no. */
export function isSet(request: HttpRequest, name: string): boolean {
  const value = request.query.get(name);
  return value !== null && value !== "false" && value !== "0";
}

/** @throws AppError 400 with that text for anything but an unsigned 64-bit number. */
export function readUint(text: string, message: string): bigint {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) > INDEX_MAX) throw registryError(400, message);
  return BigInt(text);
}

function readIndex(text: string | null): bigint {
  return text === null ? 0n : readUint(text, "Invalid index");
}

function readWait(text: string | null): number {
  if (text === null || text === "") return WAIT_MS.default;
  const ms = parseDuration(text);
  if (ms === null || ms < 0) throw registryError(400, "Invalid wait time");
  return ms === 0 ? WAIT_MS.default : Math.min(ms, WAIT_MS.max);
}

function readConsistency(request: HttpRequest): Consistency {
  const stale = isSet(request, "stale") || request.query.get("max_stale") !== null;
  const consistent = isSet(request, "consistent");
  if (stale && consistent) throw registryError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.");
  if (isSet(request, "cached") && consistent)
    throw registryError(400, "Cannot specify ?cached with ?consistent, conflicting semantics.");
  const maxStale = request.query.get("max_stale");
  if (maxStale !== null && parseDuration(maxStale) === null)
    throw registryError(400, `Invalid max_stale value ${JSON.stringify(maxStale)}`);
  return consistent ? "consistent" : stale ? "stale" : "default";
}

/** Namespaces and partitions have one value here, as in Consul's community edition. */
function checkEnterprise(request: HttpRequest): void {
  const { query } = request;
  refuseOther("ns", query.get("ns") ?? request.header("x-consul-namespace"), "Namespaces");
  refuseOther("partition", query.get("partition") ?? request.header("x-consul-partition"), "Partitions");
}

function refuseOther(name: string, value: string | null, what: string): void {
  if (value !== null && value !== "" && value.toLowerCase() !== "default")
    throw registryError(400, `Invalid query parameter: "${name}" - ${what} are a Consul Enterprise feature`);
}
