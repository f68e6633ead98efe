import { expect, test } from "bun:test";
import { runTestCli } from "../test-cli.fixture.ts";

test("apollo net probe prints how one connection went", async () => {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = server;
  const open = await runTestCli(["net", "probe", "127.0.0.1", String(port), "tcp", "1000"]);
  server.stop(true);
  expect(JSON.parse(open.out)).toMatchObject({ outcome: "open", cause: null });
  const closed = await runTestCli(["net", "probe", "127.0.0.1", String(port), "tcp", "1000"]);
  expect(JSON.parse(closed.out)).toMatchObject({ outcome: "refused", cause: "connection refused" });
  expect((await runTestCli(["net", "probe", "nowhere", "80", "tcp", "1000"])).code).toBe(2);
  expect((await runTestCli(["net", "probe", "127.0.0.1", "80", "sctp", "1000"])).code).toBe(2);
});
