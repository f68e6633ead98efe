import { afterEach, expect, test } from "bun:test";
import { runTestCli } from "../test-cli.fixture.ts";
import { errorResponse, startTestServer, type TestAnswer, type TestServer } from "../test-server.fixture.ts";

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
});

const echo: TestAnswer = ({ path, body }) => ({ name: path.split("/").at(-1), hosts: {}, ...(body as object) });
const SERVICES = [{ name: "dns", tags: [], routes: [], endpoints: [] }];

async function run(argv: readonly string[], answers: Readonly<Record<string, TestAnswer>>) {
  const started = startTestServer({ "GET /api/services": () => SERVICES, ...answers });
  server = started;
  const result = await runTestCli(["service", ...argv], { env: { APOLLO_SERVER: started.url, APOLLO_TOKEN: "t" } });
  return { ...result, requests: started.requests };
}

test("apollo service publish sends what the options mean, under a name of service and port", async () => {
  const argv = ["publish", "dns", "--port", "53/udp", "--hosts", "role=edge", "--hosts", "disk=ssd"];
  const { code, out, err, requests } = await run(argv, { "PUT /api/publications/dns-53-udp": echo });
  expect([code, err]).toEqual([0, ""]);
  expect(out).toBe("Published dns on port 53/udp of hosts with role=edge, disk=ssd as dns-53-udp\n");
  expect(requests[0]?.body).toEqual({
    service: "dns",
    port: 53,
    protocol: "udp",
    hosts: { role: "edge", disk: "ssd" },
  });
});

test("apollo service publish says when the service is not there, and what may be meant", async () => {
  const { code, err } = await run(["publish", "dsn", "--port", "53"], { "PUT /api/publications/dsn-53": echo });
  expect([code, err]).toEqual([0, 'Service dsn has no endpoint yet. Did you mean "dns"?\n']);
});

test.each([
  [["publish", "dns", "--port", "70000"], 'Cannot use port "70000"'],
  [["publish", "dns", "--port", "53/sctp"], "it must look like 5432 or 53/udp"],
  [["publish", "dns"], "--port"],
  [["publish", "dns", "--port", "53", "--hosts", "edge"], 'Cannot choose hosts by "edge"'],
  [["import", "db", "db.example.com:5432"], "it must look like 192.0.2.7:5432"],
])("apollo service %p is refused before anything is sent", async (argv, message) => {
  const { code, err, requests } = await run(argv, {});
  expect([code === 0, requests.length]).toEqual([false, 0]);
  expect(err).toContain(message);
});

test("apollo service import and virtual send what the options mean", async () => {
  const targets = ["192.0.2.7:5432", "192.0.2.8:5432", "[2001:DB8:0::9]:5432"];
  const imported = await run(["import", "db", ...targets, "--tag", "primary", "--no-check"], {
    "PUT /api/imports/db": echo,
  });
  expect(imported.requests[0]?.body).toEqual({
    targets: [
      { address: "192.0.2.7", port: 5432 },
      { address: "192.0.2.8", port: 5432 },
      { address: "2001:db8::9", port: 5432 },
    ],
    protocol: "tcp",
    tags: ["primary"],
    check: "none",
  });
  await server?.stop();
  const argv = ["virtual", "dns", "--name", "names", "--port", "53", "--sticky"];
  const answer: TestAnswer = (request) => ({ ...(echo(request) as object), address: "10.3.0.7" });
  const virtual = await run(argv, { "PUT /api/virtuals/names": answer });
  expect(virtual.requests[0]?.body).toEqual({ service: "dns", affinity: "source", port: 53 });
  expect(virtual.out).toBe("Service dns has the address 10.3.0.7:53\n");
});

test("apollo service unpublish names what there is when the name is wrong", async () => {
  const missing = errorResponse(404, { code: "not-found", message: "Cannot find it" });
  const { code, err } = await run(["unpublish", "dns-35"], {
    "DELETE /api/publications/dns-35": () => missing,
    "GET /api/publications": () => [{ name: "dns-53" }],
  });
  expect(code).not.toBe(0);
  expect(err).toContain('Did you mean "dns-53"?');
});

test("apollo service outside and show list what is declared, as text and as JSON", async () => {
  const publication = { name: "dns-53", service: "dns", protocol: "udp", port: 53, hosts: {} };
  const answers = {
    "GET /api/publications": () => [publication],
    "GET /api/imports": () => [{ name: "db", targets: [{ address: "192.0.2.7", port: 5432 }], protocol: "tcp" }],
    "GET /api/virtuals": () => [{ name: "dns", address: "10.3.0.7" }],
  };
  const { out } = await run(["outside"], answers);
  expect(out.split("\n").map((line) => line.trim().split(/\s{2,}/))).toEqual([
    ["KIND", "NAME", "SERVICE", "WHERE"],
    ["address", "dns", "dns", "10.3.0.7"],
    ["published", "dns-53", "dns", "port 53/udp of every host"],
    ["imported", "db", "db", "192.0.2.7:5432"],
    [""],
  ]);
  await server?.stop();
  const shown = await run(["show", "dns"], answers);
  expect(shown.out).toMatch(/Virtual: +10\.3\.0\.7\nPublished: +port 53\/udp of every host/);
  await server?.stop();
  const json = await run(["show", "dns", "--json"], answers);
  expect(JSON.parse(json.out)).toMatchObject({ name: "dns", publications: [publication] });
});
