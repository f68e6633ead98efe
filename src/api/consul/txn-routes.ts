import {
  type CatalogVerb,
  type KvVerb,
  type Operation,
  type OperationResult,
  OperationsRefused,
  runOperations,
} from "../../discovery/registry/run-operations.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import { renderKey, VALUE_BYTES_MAX } from "./kv-routes.ts";
import { badRequest, Fields, readJsonBody } from "./read-fields.ts";
import { readCatalogCheck, readCatalogService, readTxnNode } from "./read-registration.ts";
import { json, jsonWith, readHeaders } from "./respond.ts";
import { renderCheck, renderNode, renderService } from "./shapes.ts";

const OPERATIONS_MAX = 128;
const READING: ReadonlySet<string> = new Set([
  "get",
  "get-or-empty",
  "get-tree",
  "check-index",
  "check-session",
  "check-not-exists",
]);
const KV_VERBS: readonly KvVerb[] = [
  "set",
  "cas",
  "lock",
  "unlock",
  "get",
  "get-or-empty",
  "get-tree",
  "check-index",
  "check-session",
  "check-not-exists",
  "delete",
  "delete-cas",
  "delete-tree",
];
const CATALOG_VERBS: readonly CatalogVerb[] = ["get", "set", "cas", "delete", "delete-cas"];

export async function runTxn(call: Call): Promise<HttpResponse> {
  const operations = await readOperations(call);
  for (const operation of operations) requireAccess(call, operation);
  const { registry, lockDelays } = call.backend.parts;
  const headers = operations.every(({ verb }) => READING.has(verb)) ? readHeaders(call, registry.index) : {};
  try {
    const results = await registry.write((tx) => runOperations(operations, { tx, view: registry.view, lockDelays }));
    return json(call, { Results: results.map((each) => renderResult(call, each)), Errors: null }, headers);
  } catch (error) {
    if (!(error instanceof OperationsRefused)) throw error;
    const errors = error.faults.map(({ at, what }) => ({ OpIndex: at, What: what }));
    return jsonWith(409, call, { value: { Results: null, Errors: errors }, headers });
  }
}

async function readOperations(call: Call): Promise<readonly Operation[]> {
  const bytes = await call.request.body();
  // Values come in Base64, and names around them.
  if (bytes.byteLength > VALUE_BYTES_MAX * 2)
    throw registryError(413, `Request body(${bytes.byteLength} bytes) too large, max size: ${VALUE_BYTES_MAX} bytes.`);
  const body = await readJsonBody(call.request);
  if (!Array.isArray(body)) throw badRequest("Failed to parse body: expected a list of operations");
  if (body.length > OPERATIONS_MAX)
    throw registryError(413, `Transaction contains too many operations (${body.length} > ${OPERATIONS_MAX})`);
  const operations = body.map((each: unknown, at) => readOperation(Fields.of(each, `operation ${at}`)));
  const size = operations.reduce(
    (sum, each) => sum + (each.kind === "kv" ? ((each.input.value ?? "").length * 3) / 4 : 0),
    0,
  );
  if (size > VALUE_BYTES_MAX)
    throw registryError(413, `Request body too large, max size: ${VALUE_BYTES_MAX} bytes of values`);
  return operations;
}

function readOperation(fields: Fields): Operation {
  const kv = fields.object("KV");
  const node = fields.object("Node");
  const service = fields.object("Service");
  const check = fields.object("Check");
  fields.finish();
  if ([kv, node, service, check].filter((each) => each !== null).length > 1) throw notOneKind();
  if (kv !== null) return readKv(kv);
  if (node !== null) {
    const verb = readVerb(node, CATALOG_VERBS);
    const inner = requireObject(node, "Node");
    const index = inner.has("ModifyIndex") ? inner.uint("ModifyIndex") : 0n;
    node.finish();
    return { kind: "node", verb, index, node: readTxnNode(inner) };
  }
  if (service !== null) {
    const verb = readVerb(service, CATALOG_VERBS);
    const inner = requireObject(service, "Service");
    const index = inner.has("ModifyIndex") ? inner.uint("ModifyIndex") : 0n;
    const name = service.string("Node");
    service.finish();
    return { kind: "service", verb, index, node: name, service: readCatalogService(inner) };
  }
  if (check === null) throw notOneKind();
  const verb = readVerb(check, CATALOG_VERBS);
  const inner = requireObject(check, "Check");
  const index = inner.has("ModifyIndex") ? inner.uint("ModifyIndex") : 0n;
  const name = inner.string("Node");
  check.finish();
  return { kind: "check", verb, index, node: name, check: readCatalogCheck(inner) };
}

function notOneKind(): Error {
  return badRequest("Invalid transaction: each operation is one of KV, Node, Service and Check");
}

function readKv(fields: Fields): Operation {
  const verb = readVerb(fields, KV_VERBS);
  fields.ignore("Namespace", "Partition");
  const value = fields.string("Value");
  const operation: Operation = {
    kind: "kv",
    verb,
    key: fields.string("Key"),
    input: { value: value === "" ? null : readBase64(value), flags: fields.uint("Flags").toString() },
    index: fields.uint("Index"),
    session: fields.string("Session"),
  };
  fields.finish();
  if (operation.key === "" && verb !== "get-tree" && verb !== "delete-tree") throw badRequest("Missing key name");
  return operation;
}

function readBase64(text: string): string {
  try {
    return Uint8Array.fromBase64(text).toBase64();
  } catch {
    throw badRequest("Failed to parse body: Value is not Base64");
  }
}

function readVerb<Verb extends string>(fields: Fields, verbs: readonly Verb[]): Verb {
  const text = fields.string("Verb");
  const verb = verbs.find((each) => each === text);
  if (verb === undefined) throw badRequest(`unknown verb ${JSON.stringify(text)}`);
  return verb;
}

function requireObject(fields: Fields, name: string): Fields {
  const inner = fields.object(name);
  if (inner === null) throw badRequest(`Invalid transaction: ${name} is missing`);
  return inner;
}

function requireAccess({ caller: { grants } }: Call, operation: Operation): void {
  const access = READING.has(operation.verb) ? "read" : "write";
  switch (operation.kind) {
    case "kv":
      if (operation.verb.endsWith("-tree")) grants.requirePrefix("key", operation.key, access);
      else grants.require("key", operation.key, access);
      return;
    case "node":
      return grants.require("node", operation.node.node, access);
    case "service":
      return grants.require("service", operation.service.name, access);
    case "check":
      return grants.require("node", operation.node, access);
  }
}

function renderResult(call: Call, result: OperationResult): object {
  switch (result.kind) {
    case "kv":
      return { KV: { ...renderKey(result.row), ...(result.withValue ? {} : { Value: null }) } };
    case "node":
      return { Node: renderNode(result.row, call.backend.datacenter()) };
    case "service":
      return { Service: renderService(result.row) };
    case "check":
      return { Check: renderCheck(result.row) };
  }
}
