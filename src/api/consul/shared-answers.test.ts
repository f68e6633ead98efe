import { expect, test } from "bun:test";
import { Grants } from "../../discovery/registry/acl/grants.ts";
import type { AclToken } from "../../discovery/registry/records.ts";
import type { HttpResponse, HttpUpgrade } from "../../platform/ports/http.ts";
import { openConsul } from "../../sim/consul-fixture.ts";
import { fakeRequest } from "../../sim/fake-request.ts";
import { createConsulHandler } from "./handler.ts";

const READS_KEYS = [{ resource: "key", name: "", prefix: true, level: "read" }] as const;
const READS_MINE = [{ resource: "key", name: "mine/", prefix: true, level: "read" }] as const;
const FILTERED = "x-consul-results-filtered-by-acls";

function tokenNamed(accessorId: string): AclToken {
  const none = { policies: [], roles: [], serviceIdentities: [], nodeIdentities: [], local: false, expiresAtMs: null };
  return { accessorId, secretId: accessorId, description: "", createdAtMs: 0, createIndex: 1, modifyIndex: 1, ...none };
}

function bodyOf(answer: HttpResponse | HttpUpgrade | undefined): unknown {
  return answer !== undefined && "body" in answer ? answer.body : null;
}

test("who waited for the same gets the very same answer, which is rendered anew after the next change", async () => {
  const consul = await openConsul();
  const handle = createConsulHandler(consul.backend);
  await consul.put("kv/a", "1");
  const indexNow = async (): Promise<string> => (await consul.ask("GET", "kv/a")).headers["x-consul-index"] ?? "";
  const wait = (index: string, waitText: string): Promise<HttpResponse | HttpUpgrade> =>
    handle(fakeRequest("GET", `/v1/kv/a?index=${index}&wait=${waitText}`));
  const first = await indexNow();
  const waiting = [wait(first, "5m"), wait(first, "5m"), wait(first, "1m")];
  await consul.clock.advance(0);
  await consul.put("kv/a", "2");
  const [one, two, three] = await Promise.all(waiting);
  expect(two).toBe(one as HttpResponse);
  expect(three).toBe(one as HttpResponse);
  expect(JSON.parse(String(bodyOf(one)))).toMatchObject([{ Value: btoa("2") }]);
  const later = wait(await indexNow(), "5m");
  await consul.clock.advance(0);
  await consul.put("kv/a", "3");
  expect(JSON.parse(String(bodyOf(await later)))).toMatchObject([{ Value: btoa("3") }]);
});

test("other rights, another form of the answer and another question are not the same", async () => {
  const grants = new Map([
    ["all", new Grants(READS_KEYS, "deny", "all")],
    ["mine", new Grants(READS_MINE, "deny", "mine")],
  ]);
  const everything = Grants.everything();
  const consul = await openConsul({
    caller: (_, token) => {
      const limited = grants.get(token);
      return limited === undefined
        ? { grants: everything, token: null }
        : { grants: limited, token: tokenNamed(token) };
    },
  });
  for (const key of ["mine/a", "yours/b"]) await consul.put(`kv/${key}`, "1");
  const index = (await consul.ask("GET", "kv/?recurse")).headers["x-consul-index"] ?? "";
  const targets = ["?keys&token=all", "?keys&token=mine", "?keys&token=mine", "?keys", "?keys&pretty", "?recurse"];
  const waiting = targets.map((target) => consul.ask("GET", `kv/${target}&index=${index}`));
  await consul.clock.advance(0);
  await consul.put("kv/yours/b", "2");
  const answers = await Promise.all(waiting);
  const keys = answers.slice(0, 5).map(({ text }) => JSON.parse(text) as unknown);
  const both = ["mine/a", "yours/b"];
  expect(keys).toEqual([both, ["mine/a"], ["mine/a"], both, both]);
  // Also who gets what another's rights left out is told that something was.
  expect(answers.map(({ headers }) => headers[FILTERED])).toEqual([
    undefined,
    "true",
    "true",
    undefined,
    undefined,
    undefined,
  ]);
  expect(answers[4]?.text).not.toBe(answers[3]?.text ?? "");
  expect((JSON.parse(answers[5]?.text ?? "") as unknown[]).length).toBe(2);
});
