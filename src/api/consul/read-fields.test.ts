import { expect, test } from "bun:test";
import { openConsul } from "../../sim/consul-fixture.ts";
import { fakeRequest } from "../../sim/fake-request.ts";
import { readJsonBody } from "./read-fields.ts";

test.each([
  ['{"Node":"x"}}', { Node: "x" }],
  ['{"Node":"x"} trailing', { Node: "x" }],
  ['{"Flags":18446744073709551615}{"Flags":1}', { Flags: 18446744073709551615n }],
  ["[1]\n[2]", [1]],
])("of the body %j the first value counts, as with Go's decoder", async (body, value) => {
  expect(await readJsonBody(fakeRequest("PUT", "/v1/x", { body }))).toEqual(value);
});

test("what is behind the first value need not be text", async () => {
  const body = new Uint8Array([...new TextEncoder().encode('{"a":"é"}'), 0xff, 0xfe]);
  const request = { ...fakeRequest("PUT", "/v1/x"), body: () => Promise.resolve(body) };
  expect(await readJsonBody(request)).toEqual({ a: "é" });
});

test.each([["{"], ["{} {"], ['{"a":}x'], ["}"], ["nul"]])("the body %j is %p", async (body) => {
  const consul = await openConsul();
  const { status, text } = await consul.ask("PUT", "agent/check/register", { body });
  expect([status, text]).toEqual([400, expect.stringMatching(/^(Request decode failed|Missing check name)/)]);
});

test.each([["fa"], ["x".repeat(36)], ["0f8fad5b-d9cb-469f-a165-70867728950"], ["0f8fad5bd9cb469fa16570867728950e"]])(
  "a node with the ID %j is refused, over the catalog and in a transaction",
  async (id) => {
    const consul = await openConsul();
    const node = { ID: id, Node: "ext", Address: "192.0.2.9" };
    const alone = await consul.ask("PUT", "catalog/register", { body: node });
    expect([alone.status, alone.text]).toEqual([500, expect.stringMatching(/^Bad node ID: /)]);
    const together = await consul.ask("PUT", "txn", { body: [{ Node: { Verb: "set", Node: node } }] });
    expect([together.status, JSON.parse(together.text)]).toMatchObject([409, { Errors: [{ OpIndex: 0 }] }]);
    await consul.put("catalog/register", { ...node, ID: "0F8FAD5B-d9cb-469f-a165-70867728950e" });
    expect((await consul.ask("GET", "catalog/node/ext")).status).toBe(200);
  },
);
