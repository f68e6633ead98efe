import { afterEach, expect, test } from "bun:test";
import { runTestCli, type CliRun } from "../test-cli.fixture.ts";
import { appJson, hostJson, startTestServer, type TestAnswer, type TestServer } from "../test-server.fixture.ts";

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function serve(answers: Readonly<Record<string, TestAnswer>>): TestServer {
  server = startTestServer(answers);
  return server;
}

async function apollo(argv: readonly string[], files: Readonly<Record<string, string>> = {}): Promise<CliRun> {
  return await runTestCli(argv, { env: { APOLLO_SERVER: server?.url ?? "", APOLLO_TOKEN: "secret" }, files });
}

const RULE = {
  name: "db",
  network: "apollo",
  from: [{ app: "web" }, { host: "any" }],
  to: [{ service: "db" }],
  ports: [{ protocol: "tcp", from: 5432, to: 5432 }],
};
const echo: TestAnswer = ({ body }) => body;

test("apollo policy put sends what the flags say and names what is not there", async () => {
  const { requests } = serve({
    "PUT /api/policies/db": echo,
    "GET /api/apps": () => [appJson()],
    "GET /api/services": () => [],
  });
  const argv = [
    "policy",
    "put",
    "db",
    "--from",
    "app=web",
    "--from",
    "host=any",
    "--to",
    "service=db",
    "--port",
    "5432",
  ];
  const { code, out, err } = await apollo(argv);
  expect([code, err]).toEqual([0, 'Note: there is no service "db" yet\n']);
  expect(requests[0]?.body).toEqual(RULE);
  expect(out).toContain("app=web or host=any");
});

test("apollo policy put reads a rule from YAML or JSON, and not from both file and flags", async () => {
  const { requests } = serve({
    "PUT /api/policies/db": echo,
    "GET /api/apps": () => [appJson()],
    "GET /api/services": () => [],
  });
  const yaml =
    "name: db\nnetwork: apollo\nfrom:\n  - app: web\n  - host: any\nto: [{service: db}]\nports: [{protocol: tcp, from: 5432, to: 5432}]\n";
  for (const text of [yaml, JSON.stringify(RULE)]) {
    expect(await apollo(["policy", "put", "db", "--file", "rule"], { rule: text })).toMatchObject({ code: 0 });
  }
  const bodies = requests.filter(({ method }) => method === "PUT").map(({ body }) => body);
  expect(bodies).toEqual([RULE, RULE]);
  const both = await apollo(["policy", "put", "db", "--file", "rule", "--to", "app=x"], { rule: yaml });
  expect(both.err).toContain("Cannot use --file together with");
  const faulty = await apollo(["policy", "put", "db", "--file", "rule"], { rule: "- a\n- b\n" });
  expect(faulty.err).toContain("it must hold one rule");
});

test("apollo policy list and show: rules, default, and what was refused by host", async () => {
  serve({
    "GET /api/policies": () => [RULE],
    "GET /api/networks": () => [{ name: "apollo", policy: "deny" }],
    "GET /api/hosts": () => [hostJson({ name: "h1" }), hostJson({ name: "h2" })],
    "POST /api/hosts/h1/query": () => ({ host: "h1", refused: { db: 7 }, spoofed: {}, recent: [] }),
  });
  const list = await apollo(["policy", "list"]);
  expect(list.out).toMatch(/db +apollo +app=web or host=any +service=db +5432\/tcp/);
  expect(list.out).toContain("network apollo is closed");
  const { out } = await apollo(["policy", "show", "db"]);
  expect(out).toContain("Refused at the containers that it closes: 7 packets (7 on h1)");
  expect(out).toContain("Not counted: host h2");
  expect(JSON.parse((await apollo(["policy", "show", "db", "--json"])).out)).toMatchObject({
    name: "db",
    refused: [{ host: "h1", packets: 7 }],
  });
  expect((await apollo(["policy", "show", "dp"])).err).toContain('Did you mean "db"?');
});

test("apollo policy default and delete", async () => {
  const { requests } = serve({
    "PUT /api/networks/apollo": () => ({ name: "apollo", policy: "deny" }),
    "DELETE /api/policies/db": () => new Response(null, { status: 204 }),
  });
  expect((await apollo(["policy", "default", "deny"])).out).toBe("Network apollo: deny where no rule says anything\n");
  expect((await apollo(["policy", "default", "shut"])).code).not.toBe(0);
  expect((await apollo(["policy", "delete", "db"])).out).toBe("Deleted rule db\n");
  expect(requests.map(({ method, body }) => [method, body])).toEqual([
    ["PUT", { policy: "deny" }],
    ["DELETE", null],
  ]);
});

test("apollo net why asks any host, and the one that refuses what it counted", async () => {
  const refused = {
    allowed: false,
    reason: "not-allowed",
    by: null,
    rules: ["db"],
    network: "apollo",
    host: "h2",
    source: "10.2.1.7",
    destination: "10.2.2.5",
    pairs: 1,
  };
  const party = (kind: string, name: string, address: string) => ({
    kind,
    name,
    addresses: [address],
    selector: `app=/${name}`,
  });
  const answer = {
    from: party("app", "eve", "10.2.1.7"),
    to: party("app", "db", "10.2.2.5"),
    protocol: "tcp",
    port: 5432,
    cases: [refused],
    cure: "apollo policy put eve-to-db --from app=/eve --to app=/db --port 5432/tcp",
  };
  const recent = [{ source: "10.2.1.7", destination: "10.2.2.5", protocol: "tcp", port: 5432, packets: 4 }];
  const { requests } = serve({
    "GET /api/hosts": () => [hostJson({ name: "h1" }), hostJson({ name: "h2" })],
    "POST /api/hosts/h1/query": () => answer,
    "POST /api/hosts/h2/query": () => ({ host: "h2", refused: {}, spoofed: {}, recent }),
  });
  const { code, out } = await apollo(["net", "why", "eve", "db:5432"]);
  expect(code).toBe(1);
  expect(out).toBe(
    "app eve to app db tcp 5432\n" +
      "  refused: the destination is closed by rule db, and none allows this, on host h2 (such as 10.2.1.7 to 10.2.2.5); 4 packets refused lately\n" +
      "To allow it: apollo policy put eve-to-db --from app=/eve --to app=/db --port 5432/tcp\n",
  );
  expect(requests[1]?.body).toEqual({ kind: "policy-why", from: "eve", to: "db", port: 5432, protocol: "tcp" });
});
