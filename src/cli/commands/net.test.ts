import { afterEach, expect, test } from "bun:test";
import { EXIT_CODE } from "../../model/error.ts";
import { type CliRun, runTestCli } from "../test-cli.fixture.ts";
import { errorResponse, hostJson, startTestServer, type TestServer } from "../test-server.fixture.ts";

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function serve(): TestServer {
  server = startTestServer({
    "GET /api/hosts": () => [hostJson({ name: "h1" }), hostJson({ name: "h2" })],
    "POST /api/hosts/h1/query": () => ({ publicKey: "K1", nextPublicKey: "K2" }),
    "POST /api/hosts/h2/query": () =>
      errorResponse(503, { code: "unavailable", message: 'Cannot ask host "h2": its agent is not connected' }),
  });
  return server;
}

async function apollo(argv: readonly string[]): Promise<CliRun> {
  return await runTestCli(argv, { env: { APOLLO_SERVER: server?.url ?? "", APOLLO_TOKEN: "secret" } });
}

test("apollo net rotate-keys asks each host, goes on past one that cannot, and says so in its exit code", async () => {
  const { requests } = serve();
  expect(await apollo(["net", "rotate-keys"])).toEqual({
    code: 1,
    out: 'h1: new key K1\nh2: Cannot ask host "h2": its agent is not connected\n',
    err: "",
  });
  expect(requests.slice(1).map(({ body }) => body)).toEqual([
    { kind: "rotate-keys", leaked: false },
    { kind: "rotate-keys", leaked: false },
  ]);
});

test("apollo net rotate-keys --host asks one alone, whose failure is the command's", async () => {
  const { requests } = serve();
  expect((await apollo(["net", "rotate-keys", "--host", "h1", "--leaked"])).out).toBe("h1: new key K1\n");
  expect(requests.map(({ body }) => body)).toEqual([{ kind: "rotate-keys", leaked: true }]);
  expect((await apollo(["net", "rotate-keys", "--host", "h2"])).code).toBe(EXIT_CODE.unavailable);
  expect((await apollo(["net", "rotate-keys", "--host", "h3"])).err).toContain("Did you mean");
});
