import { deleteBelow, deleteKey, foldKeys, type KvCondition, putKey } from "../../discovery/registry/kv-operations.ts";
import type { KvEntry } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import { WRITES_MAX } from "../../discovery/registry/registry.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { type Call, isSet, readUint } from "./call.ts";
import { answerQuery, json, text } from "./respond.ts";

/** Of a key's value and of a transaction's body. */
export const VALUE_BYTES_MAX = 512 * 1024;

export function renderKey(row: KvEntry): object {
  return {
    LockIndex: row.lockIndex,
    Key: row.key,
    Flags: exactNumber(row.flags),
    Value: row.value,
    ...(row.session === null ? {} : { Session: row.session }),
    CreateIndex: row.createIndex,
    ModifyIndex: row.modifyIndex,
  };
}

/** A bigint only where a double would not do: most flags are small, and JSON is written much faster without. */
function exactNumber(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

export function getKey(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { grants } = call.caller;
  const { rest: key } = call;
  if (isSet(call.request, "keys") || call.request.query.get("separator") !== null) return listKeys(call);
  if (isSet(call.request, "recurse")) {
    return answerQuery(call, registry.prefixQuery(key), (rows, headers) => {
      const visible = rows.filter((row) => grants.may("key", row.key, "read"));
      return visible.length === 0 ? text(404, "", headers) : json(call, visible.map(renderKey), headers);
    });
  }
  if (key === "") throw registryError(400, "Missing key name");
  grants.require("key", key, "read");
  return answerQuery(call, registry.keyQuery(key), (row, headers) => {
    if (row === null) return text(404, "", headers);
    return isSet(call.request, "raw") ? raw(row, headers) : json(call, [renderKey(row)], headers);
  });
}

function listKeys(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { grants } = call.caller;
  const { rest: prefix } = call;
  const separator = call.request.query.get("separator") ?? "";
  return answerQuery(call, registry.prefixQuery(prefix), (rows, headers) => {
    const visible = rows.flatMap(({ key }) => (grants.may("key", key, "read") ? [key] : []));
    if (visible.length === 0 && prefix !== "") return text(404, "", headers);
    return json(call, foldKeys(visible, prefix, separator), headers);
  });
}

/** The value may be anything, a page included: a browser must neither guess its type nor run it. */
function raw({ value }: KvEntry, headers: Readonly<Record<string, string>>): HttpResponse {
  return {
    status: 200,
    headers: {
      ...headers,
      "content-type": "text/plain",
      "x-content-type-options": "nosniff",
      "content-security-policy": "sandbox",
    },
    body: value === null ? new Uint8Array() : Uint8Array.fromBase64(value),
  };
}

export async function setKey(call: Call): Promise<HttpResponse> {
  const { registry, lockDelays } = call.backend.parts;
  const key = requireKey(call);
  call.caller.grants.require("key", key, "write");
  const condition = readCondition(call);
  const flags = readUint(call.request.query.get("flags") ?? "0", "Invalid flags value").toString();
  const value = await readValue(call);
  const row = await registry.write((tx) => putKey(tx, key, { input: { value, flags }, condition, lockDelays }));
  return json(call, row !== null);
}

async function readValue({ request }: Call): Promise<string | null> {
  const bytes = await request.body();
  if (bytes.byteLength > VALUE_BYTES_MAX)
    throw registryError(
      413,
      `Request body(${bytes.byteLength} bytes) too large, max size: ${VALUE_BYTES_MAX} bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size.`,
    );
  return bytes.byteLength === 0 ? null : bytes.toBase64();
}

function readCondition({ request: { query } }: Call): KvCondition {
  const cas = query.get("cas");
  const acquire = query.get("acquire");
  const release = query.get("release");
  if ([cas, acquire, release].filter((each) => each !== null).length > 1)
    throw registryError(400, "Conflicting flags: only one of cas, acquire and release may be given");
  if (cas !== null) return { kind: "cas", index: readUint(cas, "Invalid cas value") };
  if (acquire !== null) return { kind: "acquire", session: acquire };
  return release === null ? { kind: "always" } : { kind: "release", session: release };
}

export async function removeKey(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { query } = call.request;
  const { grants } = call.caller;
  const cas = query.get("cas");
  if (isSet(call.request, "recurse")) {
    if (cas !== null) throw registryError(400, "Conflicting flags: recurse with cas");
    grants.requirePrefix("key", call.rest, "write");
    // A tree too large for one commit goes in several; each is whole.
    while (!(await registry.write((tx) => deleteBelow(tx, call.rest, WRITES_MAX))));
    return json(call, true);
  }
  const key = requireKey(call);
  grants.require("key", key, "write");
  const index = cas === null ? null : readUint(cas, "Invalid cas value");
  return json(call, await registry.write((tx) => deleteKey(tx, key, index)));
}

function requireKey({ rest }: Call): string {
  if (rest === "") throw registryError(400, "Missing key name");
  return rest;
}
