import { expect, test } from "bun:test";
import { ApiClient, ApiFailure } from "./api-client.ts";

interface Call {
  readonly url: string;
  readonly init: RequestInit;
}

function clientAnswering(answer: () => Response | Error): { api: ApiClient; calls: Call[] } {
  const calls: Call[] = [];
  const api = new ApiClient("http://server/prefix/api/", (url, init) => {
    calls.push({ url, init });
    const value = answer();
    return value instanceof Error ? Promise.reject(value) : Promise.resolve(value);
  });
  return { api, calls };
}

async function failureOf(promise: Promise<unknown>): Promise<ApiFailure> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ApiFailure)) throw new Error(`No ApiFailure: ${String(error)}`);
  return error;
}

test("actions name the app encoded whole and carry the console's header", async () => {
  const { api, calls } = clientAnswering(() => Response.json({ version: "v", deploymentId: "d" }));
  await api.scale("/shop/web", 4);
  const [call] = calls;
  expect(call?.url).toBe("http://server/prefix/api/apps/shop%2Fweb/scale");
  expect(call?.init.method).toBe("POST");
  expect(call?.init.body).toBe('{"instances":4}');
  expect(call?.init.credentials).toBe("same-origin");
  expect(new Headers(call?.init.headers).get("x-apollo-console")).toBe("1");
});

test("a refusal keeps the server's message, hint and fields", async () => {
  const error = {
    code: "invalid",
    message: "Cannot scale",
    hint: "Use less",
    fields: [{ path: "/instances", message: "too many" }],
  };
  const { api } = clientAnswering(() => Response.json({ error }, { status: 422 }));
  const failure = await failureOf(api.scale("/web", 4));
  expect([failure.status, failure.message, failure.hint, failure.fields.length]).toEqual([
    422,
    "Cannot scale",
    "Use less",
    1,
  ]);
});

test("a proxy's page and a dead server are failures in plain words", async () => {
  const proxy = await failureOf(clientAnswering(() => new Response("<html>", { status: 502 })).api.destroy("/web"));
  expect([proxy.status, proxy.message]).toEqual([502, "Cannot complete the request: the server answered 502"]);
  const dead = await failureOf(clientAnswering(() => new TypeError("failed to fetch")).api.destroy("/web"));
  expect(dead.status).toBe(0);
  expect(dead.hint).not.toBeNull();
});

test("a 401 ends the session, except where it answers a sign-in", async () => {
  const { api } = clientAnswering(() => Response.json({ error: { code: "denied", message: "no" } }, { status: 401 }));
  let refused = 0;
  api.onRefused = () => (refused += 1);
  expect(await api.checkSession()).toBe("refused");
  await failureOf(api.signIn("wrong"));
  expect(refused).toBe(0);
  await failureOf(api.restart("/web"));
  expect(refused).toBe(1);
  expect(await clientAnswering(() => new TypeError("down")).api.checkSession()).toBe("unreachable");
});
