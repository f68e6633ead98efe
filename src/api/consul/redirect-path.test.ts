import { expect, test } from "bun:test";
import fc from "fast-check";
import { fakeRequest } from "../../sim/fake-request.ts";
import { redirected } from "./handler.ts";

function locationOf(target: string): string | null {
  const answer = redirected(fakeRequest("GET", target));
  if (answer === null) return null;
  expect([answer.status, answer.body]).toEqual([301, ""]);
  return answer.headers["location"] ?? "";
}

test.each<[string, string | null]>([
  ["//v1/kv/a", "/v1/kv/a"],
  ["/v1/kv//a///b?raw&dc=dc1", "/v1/kv/a/b?raw=&dc=dc1"],
  ["/v1//catalog/services", "/v1/catalog/services"],
  ["/v1/kv?recurse", "/v1/kv/?recurse="],
  ["/v1/health/service", "/v1/health/service/"],
  ["//v1/kv?node-meta=a:1&node-meta=b:2&x[]=1", "/v1/kv/?node-meta=a%3A1&node-meta=b%3A2&x%5B%5D=1"],
  // Both there: the list, and a query by its name.
  ["/v1/query", null],
  ["/v1/kv/", null],
  ["/v1/kv/a/", null],
  ["/v1/kv/a%2F%2Fb", null],
  ["/v1/nothing", null],
  ["/", null],
])("%s goes to %p", (target, location) => {
  expect(locationOf(target)).toBe(location);
});

test("who follows is not sent on again, and never to another server (property)", () => {
  const piece = fc.constantFrom("/", "//", "v1", "kv", "query", "a", "%2F", "..", "evil.example", "?", "&", "=", "x[]");
  const target = fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join("")}`);
  fc.assert(
    fc.property(target, (from) => {
      const to = locationOf(from);
      if (to === null) return;
      expect(to).toMatch(/^\/([^/]|$)/);
      expect(locationOf(to)).toBeNull();
    }),
  );
});
