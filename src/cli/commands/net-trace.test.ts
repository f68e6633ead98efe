import { afterEach, expect, test } from "bun:test";
import { explainTrace } from "../../network/trace/explain-trace.ts";
import { QUESTION, farFacts, nearFacts } from "../../network/trace/trace.fixture.ts";
import { paintFor } from "../style.ts";
import { type CliRun, runTestCli } from "../test-cli.fixture.ts";
import { startTestServer, type TestServer } from "../test-server.fixture.ts";
import { formatTrace } from "./net-trace.ts";

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

const plain = paintFor({ color: false });
const well = explainTrace({
  question: QUESTION,
  nearHost: "h1",
  near: { ok: true, facts: nearFacts(), ms: 5 },
  far: { ok: true, facts: farFacts(), ms: 4 },
  truth: null,
});
const ill = explainTrace({
  question: QUESTION,
  nearHost: "h1",
  near: {
    ok: true,
    facts: nearFacts({ connect: { outcome: "refused", ms: 0.5, cause: "connection refused" } }),
    ms: 5,
  },
  far: { ok: true, facts: farFacts({ listeners: ["127.0.0.1"] }), ms: 4 },
  truth: null,
});

async function apollo(argv: readonly string[], report: object): Promise<CliRun & { readonly body: unknown }> {
  server = startTestServer({ "POST /api/trace": () => report });
  const env = { APOLLO_SERVER: server.url, APOLLO_TOKEN: "secret", APOLLO_AGENT_SOCKET: "/nonexistent/agent.sock" };
  const run = await runTestCli(argv, { env });
  return { ...run, body: server.requests[0]?.body };
}

test("apollo net trace FROM TO asks the server, prints the walk and ends with 0 when all is well", async () => {
  const run = await apollo(["net", "trace", "front", "db:5432"], well);
  expect(run.body).toEqual({ from: "front", to: "db", port: 5432, protocol: "tcp", family: null, here: null });
  expect([run.code, run.err]).toEqual([0, ""]);
  expect(run.out).toBe(formatTrace(well, plain, 80));
});

test("apollo net trace ends with 1 when something is broken, and prints the report as JSON when asked", async () => {
  const run = await apollo(["net", "trace", "front", "db", "--json"], ill);
  expect(run.code).toBe(1);
  expect(JSON.parse(run.out)).toEqual(ill);
});

test("apollo net trace reads hosts, protocols and a destination alone", async () => {
  const one = await apollo(["net", "trace", "host:h2:53/udp"], well);
  expect(one.body).toEqual({ from: null, to: "host:h2", port: 53, protocol: "udp", family: null, here: null });
  await server?.stop();
  expect((await apollo(["net", "trace", "host:h1", "10.2.2.7/udp"], well)).body).toMatchObject({
    from: "host:h1",
    to: "10.2.2.7",
    protocol: "udp",
  });
  await server?.stop();
  const six = await apollo(["net", "trace", "-6", "front", "[FD12::7]:53/udp"], well);
  expect(six.body).toMatchObject({ to: "fd12::7", port: 53, protocol: "udp", family: 6 });
  await server?.stop();
  expect((await apollo(["net", "trace", "front", "fd12:0:0:0:a02:100:a02:107"], well)).body).toMatchObject({
    to: "fd12::a02:100:a02:107",
    port: null,
  });
  await server?.stop();
  expect((await apollo(["net", "trace", "front", "db/icmp"], well)).code).toBe(2);
  await server?.stop();
  expect((await apollo(["net", "trace", "front", "db:70000"], well)).code).toBe(2);
});

test("formatTrace() keeps to the terminal's width but for commands, which are there to be copied", () => {
  for (const columns of [80, 120]) {
    const lines = formatTrace(ill, plain, columns).trimEnd().split("\n");
    const hints = ill.steps.flatMap(({ hint }) => (hint === null ? [] : [hint]));
    const long = lines.filter((line) => line.length > columns && !hints.some((hint) => line.trim() === hint));
    expect(long).toEqual([]);
  }
  expect(formatTrace(ill, plain, 120)).toContain(
    "  BROKEN  port       h2  tcp 5432 in db listens on 127.0.0.1 only: it cannot be reached from outside the container\n" +
      "                         Let the program in db listen on 0.0.0.0\n",
  );
  expect(formatTrace(ill, plain, 80)).toEndWith("Breaks at: port; 1 more step is broken, mostly because of it\n");
  expect(formatTrace(well, plain, 80)).toEndWith("All is well.\n");
});

test("formatTrace() has no line for steps that the walk did not come to", () => {
  const unknown = explainTrace({
    question: QUESTION,
    nearHost: "h1",
    near: { ok: false, why: "the agent of h1 does not answer within 5 s", hint: null },
    far: null,
    truth: null,
  });
  expect(formatTrace(unknown, plain, 120).trimEnd().split("\n")).toEqual([
    "front → db (tcp)",
    "  BROKEN  from       h1  the agent of h1 does not answer within 5 s",
    "                         apollo host list; systemctl status apollo-agent   (on h1)",
    "Breaks at: from",
  ]);
});
