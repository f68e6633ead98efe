import { expect, test } from "bun:test";
import { createServer } from "node:net";
import { canConnect, findFreePort } from "./forward.ts";

test("findFreePort() gives a port that nothing listens on", async () => {
  const port = await findFreePort();
  expect(port).toBeGreaterThan(1023);
  expect(await canConnect(port)).toBe(false);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  expect(await canConnect(port)).toBe(true);
  await new Promise((resolve) => server.close(resolve));
});
