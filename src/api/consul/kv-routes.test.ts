import { expect, test } from "bun:test";
import { openConsul } from "../../sim/consul-fixture.ts";

const LOCK_FLAGS = "3304740253564472344";

test("a key is written and read whole, flags of 64 bits included", async () => {
  const consul = await openConsul();
  expect(await consul.put(`kv/a/b?flags=${LOCK_FLAGS}`, "hello")).toBe(true);
  const { text, headers, status } = await consul.ask("GET", "kv/a/b");
  const [row] = JSON.parse(text) as [{ ModifyIndex: number }];
  expect(status).toBe(200);
  expect(text).toBe(
    `[{"LockIndex":0,"Key":"a/b","Flags":${LOCK_FLAGS},"Value":"aGVsbG8=","CreateIndex":${row.ModifyIndex},"ModifyIndex":${row.ModifyIndex}}]`,
  );
  expect(headers["x-consul-index"]).toBe(String(row.ModifyIndex));
  expect(headers["x-consul-knownleader"]).toBe("true");
  expect(headers["x-consul-lastcontact"]).toBe("0");
  const raw = await consul.ask("GET", "kv/a/b?raw");
  expect([raw.text, raw.headers["content-type"], raw.headers["content-security-policy"]]).toEqual([
    "hello",
    "text/plain",
    "sandbox",
  ]);
});

test.each([
  ["GET", "kv/none", undefined, 404, ""],
  ["GET", "kv/none?recurse", undefined, 404, ""],
  ["GET", "kv/none?keys", undefined, 404, ""],
  ["GET", "kv/?keys", undefined, 200, "[]"],
  ["GET", "kv/", undefined, 400, "Missing key name"],
  ["PUT", "kv/", "x", 400, "Missing key name"],
  ["DELETE", "kv/", undefined, 400, "Missing key name"],
  ["PUT", "kv/a?cas=x", "x", 400, "Invalid cas value"],
  ["PUT", "kv/a?flags=-1", "x", 400, "Invalid flags value"],
  ["PUT", "kv/a?cas=1&acquire=s", "x", 400, "Conflicting flags: only one of cas, acquire and release may be given"],
  ["PUT", "kv/a?acquire=nobody", "x", 500, 'invalid session "nobody"'],
  ["GET", "kv/a?index=x", undefined, 400, "Invalid index"],
  ["GET", "kv/a?wait=x", undefined, 400, "Invalid wait time"],
  ["GET", "kv/a?stale&consistent", undefined, 400, "Cannot specify ?stale with ?consistent, conflicting semantics."],
  ["GET", "kv/a?dc=elsewhere", undefined, 500, "No path to datacenter"],
  ["PUT", "catalog/register", { Datacenter: "dc9", Node: "x", Address: "192.0.2.1" }, 500, "No path to datacenter"],
  ["PUT", "catalog/deregister", { Datacenter: "dc9", Node: "x" }, 500, "No path to datacenter"],
  ["PUT", "catalog/register", { Datacenter: "dc1", Node: "x", Address: "192.0.2.1" }, 200, "true"],
  ["GET", "coordinate/node/none", undefined, 404, ""],
  ["GET", "kv/a?ns=x", undefined, 400, 'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'],
  ["POST", "kv/a", undefined, 405, "method POST not allowed"],
  ["GET", "nothing/here", undefined, 404, 'Invalid URL path: "/v1/nothing/here"'],
  ["GET", "kv/%E0%A4%A", undefined, 400, 'invalid URL escape in "%E0%A4%A"'],
])("%s %s is refused or empty as Consul does it", async (method, target, body, status, text) => {
  const consul = await openConsul();
  const answer = await consul.ask(method, target, body === undefined ? {} : { body });
  expect([answer.status, answer.text]).toEqual([status, text]);
});

test("a value of 512 KiB is taken, one byte more is 413", async () => {
  const consul = await openConsul();
  expect(await consul.put("kv/big", "x".repeat(512 * 1024))).toBe(true);
  expect((await consul.ask("PUT", "kv/big", { body: "x".repeat(512 * 1024 + 1) })).status).toBe(413);
});

test("lists fold at the separator and recurse gives all below", async () => {
  const consul = await openConsul();
  for (const key of ["a/1", "a/x/1", "a/x/2", "a/y/1", "b"]) await consul.put(`kv/${key}`, "v");
  expect(await consul.get("kv/a/?keys")).toEqual(["a/1", "a/x/1", "a/x/2", "a/y/1"]);
  expect(await consul.get("kv/a/?keys&separator=/")).toEqual(["a/1", "a/x/", "a/y/"]);
  expect(await consul.get("kv/?keys&separator=/")).toEqual(["a/", "b"]);
  expect(((await consul.get("kv/a/x?recurse")) as { Key: string }[]).map(({ Key }) => Key)).toEqual(["a/x/1", "a/x/2"]);
});

test("cas writes only what it saw, and 0 only what is not there; delete likewise", async () => {
  const consul = await openConsul();
  const indexOf = async (): Promise<number> => ((await consul.get("kv/k")) as [{ ModifyIndex: number }])[0].ModifyIndex;
  expect(await consul.put("kv/k?cas=0", "1")).toBe(true);
  expect(await consul.put("kv/k?cas=0", "2")).toBe(false);
  const index = await indexOf();
  expect(await consul.put(`kv/k?cas=${index}`, "2")).toBe(true);
  expect(await consul.put(`kv/k?cas=${index}`, "3")).toBe(false);
  expect((await consul.ask("DELETE", "kv/k?cas=0")).text).toBe("false");
  expect((await consul.ask("DELETE", `kv/k?cas=${await indexOf()}`)).text).toBe("true");
  expect((await consul.ask("DELETE", "kv/k")).text).toBe("true");
});

test("writing what is there is no change", async () => {
  const consul = await openConsul();
  await consul.put("kv/k", "1");
  const before = await consul.get("kv/k");
  await consul.put("kv/k", "1");
  expect(await consul.get("kv/k")).toEqual(before);
});

test("locks: one holder, LockIndex grows with each new one, a plain write ignores it", async () => {
  const consul = await openConsul();
  const make = async (): Promise<string> =>
    ((await consul.put("session/create", { LockDelay: "0s" })) as { ID: string }).ID;
  const [one, two] = [await make(), await make()];
  const row = async (): Promise<unknown> => ((await consul.get("kv/lock")) as unknown[])[0];
  expect(await consul.put(`kv/lock?acquire=${one}`, "1")).toBe(true);
  expect(await consul.put(`kv/lock?acquire=${two}`, "2")).toBe(false);
  expect(await consul.put(`kv/lock?acquire=${one}`, "again")).toBe(true);
  expect(await row()).toMatchObject({ LockIndex: 1, Session: one });
  expect(await consul.put("kv/lock", "plain")).toBe(true);
  expect(await row()).toMatchObject({ LockIndex: 1, Session: one });
  expect(await consul.put(`kv/lock?release=${two}`, "")).toBe(false);
  expect(await consul.put(`kv/lock?release=${one}`, "free")).toBe(true);
  expect(await row()).toEqual(expect.not.objectContaining({ Session: one }));
  expect(await consul.put(`kv/lock?acquire=${two}`, "2")).toBe(true);
  expect(await row()).toMatchObject({ LockIndex: 2, Session: two });
});

test("keys survive a new process, and its indexes are all later", async () => {
  const first = await openConsul();
  await first.put("kv/k?flags=7", "v");
  await first.put("kv/ü%20x", "v");
  await first.put(`kv/${"long".repeat(200)}`, "v");
  const before = first.parts.registry.index;
  const second = await first.reopen();
  expect(await second.get("kv/k")).toMatchObject([{ Value: "dg==", Flags: 7 }]);
  expect(((await second.get("kv/?keys")) as string[]).length).toBe(3);
  await second.put("kv/k", "new");
  const [row] = (await second.get("kv/k")) as [{ ModifyIndex: number }];
  expect(row.ModifyIndex).toBeGreaterThan(before);
});
