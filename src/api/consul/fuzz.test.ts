/** Whatever a client sends, it gets an answer of Consul's and the registry stays whole. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { openConsul } from "../../sim/consul-fixture.ts";
import { ROUTES } from "./routes.ts";

const word = fc.constantFrom(
  "",
  "a",
  "web",
  "n1",
  "serfHealth",
  "none",
  "a/b",
  "%00",
  "%E0",
  "__proto__",
  "constructor",
  "%2F",
);
const path = fc
  .tuple(fc.constantFrom(...Object.keys(ROUTES)), word)
  .map(([route, rest]) => (route.endsWith("/") ? route + rest : route));
const name = fc.constantFrom(
  "index",
  "wait",
  "recurse",
  "keys",
  "separator",
  "raw",
  "cas",
  "flags",
  "acquire",
  "release",
  "filter",
  "passing",
  "tag",
  "near",
  "dc",
  "ns",
  "stale",
  "consistent",
  "hash",
  "enable",
  "limit",
  "pretty",
  "token",
  "node-meta",
);
const small = fc.constantFrom(
  "",
  "0",
  "1",
  "true",
  "x",
  "-1",
  "18446744073709551616",
  "1ms",
  "Node == n1",
  "((",
  "_agent",
  "a:b",
);
const query = fc.array(fc.tuple(name, small), { maxLength: 3 }).map((pairs) =>
  pairs
    .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
    .concat("wait=1ms")
    .join("&"),
);
const field = fc.constantFrom(
  "Node",
  "Address",
  "Service",
  "Check",
  "Checks",
  "Name",
  "ID",
  "TTL",
  "KV",
  "Verb",
  "Key",
  "Value",
  "Tags",
  "Meta",
  "Port",
  "Status",
  "CheckID",
  "ServiceID",
  "Policies",
  "Rules",
  "Coord",
  "Vec",
  "Template",
  "Behavior",
  "LockDelay",
  "__proto__",
);
const { json } = fc.letrec((tie) => ({
  json: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    fc.constantFrom("set", "web", "n1", "10s", "critical", "192.0.2.1", "a\0b", ""),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("json"), { maxLength: 3 }),
    fc.dictionary(field, tie("json"), { maxKeys: 5 }),
  ),
}));
const body = fc.oneof(json, fc.string());
const request = fc.record({
  method: fc.constantFrom("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"),
  path,
  query,
  body,
});

test("property: any request is answered, and what it left behind can be read, saved and loaded again", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 5, maxLength: 40 }), fc.boolean(), async (requests, aclEnabled) => {
      const consul = await openConsul({ aclEnabled });
      for (const each of requests) {
        const sent = each.method === "PUT" || each.method === "POST" ? { body: each.body } : {};
        const answer = await consul.clock.settle(consul.ask(each.method, `${each.path}?${each.query}`, sent));
        expect([200, 400, 401, 403, 404, 405, 409, 413, 429, 500, 503]).toContain(answer.status);
      }
      const shown = ["catalog/services", "catalog/nodes", "health/state/any", "kv/?keys", "session/list", "query"];
      const before = await Promise.all(shown.map((target) => consul.get(target)));
      const next = await consul.reopen();
      const stored = (await next.get("kv/?keys")) as unknown;
      expect(stored).toEqual(before[3]);
      expect((await next.ask("GET", "snapshot")).status).toBe(200);
      next.parts.close();
    }),
    { numRuns: 150 },
  );
}, 60_000);
