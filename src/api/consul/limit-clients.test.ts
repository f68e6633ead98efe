import { expect, test } from "bun:test";
import type { HttpHandler, HttpRequest } from "../../platform/ports/http.ts";
import { fakeRequest } from "../../sim/fake-request.ts";
import { limitClients } from "./limit-clients.ts";

function from(address: string, loopback = false): HttpRequest {
  return { ...fakeRequest("GET", "/v1/kv/a?index=1"), peer: { address, loopback, secure: false } };
}

async function statusOf(handle: HttpHandler, request: HttpRequest): Promise<number> {
  const answer = await handle(request);
  return "status" in answer ? answer.status : 0;
}

test("a client with too much under way is refused in Consul's words, others are not, and room comes back", async () => {
  const ends: (() => void)[] = [];
  const waits: HttpHandler = () =>
    new Promise((resolve) => ends.push(() => resolve({ status: 200, headers: {}, body: "" })));
  const isShared = (request: HttpRequest): boolean => request.peer.address === "10.2.0.1";
  const handle = limitClients(waits, { max: 200, isShared });
  const running = Array.from({ length: 200 }, () => statusOf(handle, from("10.2.0.7")));
  expect(await handle(from("10.2.0.7"))).toMatchObject({
    status: 429,
    headers: { "content-type": "text/plain; charset=utf-8" },
    body: "Your IP is issuing too many concurrent connections, please rate limit your calls\n",
  });
  const others = [
    statusOf(handle, from("10.2.0.8")),
    ...Array.from({ length: 300 }, () => statusOf(handle, from("127.0.0.1", true))),
    ...Array.from({ length: 300 }, () => statusOf(handle, from("10.2.0.1"))),
  ];
  ends.shift()?.();
  expect(await running[0]).toBe(200);
  const again = statusOf(handle, from("10.2.0.7"));
  for (const end of ends) end();
  expect(new Set(await Promise.all([...running, ...others, again]))).toEqual(new Set([200]));
});

test("a request that fails gives its place back, and 0 is no limit", async () => {
  const fails = limitClients(() => Promise.reject(new Error("it fails")), { max: 1 });
  for (let n = 0; n < 3; n += 1) {
    const failed = await fails(from("10.2.0.7")).catch((error: unknown) => error);
    expect(failed).toMatchObject({ message: "it fails" });
  }
  const waits = limitClients(() => new Promise(() => undefined), { max: 0 });
  for (let n = 0; n < 300; n += 1) void waits(from("10.2.0.7"));
  expect(await Promise.race([waits(from("10.2.0.7")), Promise.resolve("waits")])).toBe("waits");
});
