import { afterEach, expect, test } from "bun:test";
import type { LinkJson } from "../api/native/shapes.ts";
import { runTestCli } from "./test-cli.fixture.ts";
import { startTestServer, type TestServer } from "./test-server.fixture.ts";

const LINK: LinkJson = {
  host: "host-1",
  peer: "host-2",
  mode: "relay",
  via: "host-3",
  why: "192.0.2.2 does not answer this host",
  up: true,
  rttMs: 1.5,
  lossPercent: 4,
  mtu: 1450,
  txBytes: null,
  rxBytes: null,
  encryption: "none",
  sinceMs: 0,
};
let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function apollo(argv: readonly string[], links: readonly LinkJson[]) {
  server = startTestServer({ "GET /api/links": () => links });
  return runTestCli(argv, { env: { APOLLO_SERVER: server.url, APOLLO_TOKEN: "secret" } });
}

test("apollo net links prints one line for each link, with mode and reason", async () => {
  const { code, out } = await apollo(
    ["net", "links"],
    [LINK, { ...LINK, host: "host-2", up: null, rttMs: null, txBytes: 999, rxBytes: 1_234_567_890 }],
  );
  const [head = "", first = "", second = ""] = out.split("\n");
  expect([code, head.split(/\s+/).slice(0, 3)]).toEqual([0, ["HOST", "PEER", "MODE"]]);
  expect(first).toMatch(
    /^host-1 +host-2 +relay via host-3 +up +1\.50 ms +4 % +1450 +- +- +none +.* 192\.0\.2\.2 does not answer/,
  );
  expect(second).toMatch(/unknown +- +4 % +1450 +999 B +1\.2 GB /);
});

test("apollo net links asks for one host alone, gives JSON, and says when there are none", async () => {
  const json = await apollo(["net", "links", "--host", "host-1", "--json"], [LINK]);
  expect(JSON.parse(json.out)).toEqual([LINK]);
  expect(server?.requests[0]?.path).toBe("/api/links?host=host-1");
  await server?.stop();
  expect((await apollo(["net", "links"], [])).out).toBe("No links: they are there once two hosts are up.\n");
});
