import { expect, test } from "bun:test";
import { Grants } from "../../discovery/registry/acl/grants.ts";
import type { AclToken } from "../../discovery/registry/records.ts";
import { openConsul } from "../../sim/consul-fixture.ts";

const TOKEN: AclToken = {
  accessorId: "a",
  secretId: "s",
  description: "",
  policies: [],
  roles: [],
  serviceIdentities: [],
  nodeIdentities: [],
  local: false,
  createdAtMs: 0,
  expiresAtMs: null,
  createIndex: 1,
  modifyIndex: 1,
};
const HEADER = "x-consul-results-filtered-by-acls";

test("who shows a token is told when something was left out, and only then", async () => {
  const rules = [{ resource: "key", name: "mine/", prefix: true, level: "read" }] as const;
  const limited = new Grants(rules, "deny", "a");
  let token: AclToken | null = null;
  const consul = await openConsul({
    caller: () => ({ grants: token === null ? Grants.everything() : limited, token }),
  });
  for (const key of ["mine/a", "yours/b"]) await consul.put(`kv/${key}`, "x");
  token = TOKEN;
  const all = await consul.ask("GET", "kv/?keys");
  expect([JSON.parse(all.text), all.headers[HEADER]]).toEqual([["mine/a"], "true"]);
  const mine = await consul.ask("GET", "kv/mine/?keys");
  expect([JSON.parse(mine.text), mine.headers[HEADER]]).toEqual([["mine/a"], undefined]);
  const services = await consul.ask("GET", "catalog/nodes");
  expect([services.text, services.headers[HEADER]]).toEqual(["[]", "true"]);
  expect((await consul.ask("GET", "kv/yours/b")).status).toBe(403);
});
