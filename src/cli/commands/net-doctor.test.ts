import { afterEach, expect, test } from "bun:test";
import type { DoctorReport } from "../../network/doctor/doctor-facts.ts";
import { paintFor } from "../style.ts";
import { type CliRun, runTestCli } from "../test-cli.fixture.ts";
import { errorResponse, hostJson, startTestServer, type TestServer } from "../test-server.fixture.ts";
import { formatDoctor } from "./net-doctor.ts";

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

const ILL: DoctorReport = {
  ok: false,
  hosts: 40,
  pairs: { checked: 440, total: 1560 },
  findings: [
    {
      host: "h1",
      peer: null,
      check: "firewall",
      state: "error",
      text: "UDP 6784 (VXLAN) does not come in",
      hint: "nft delete rule inet t c handle 2   (on h1)",
    },
    {
      host: "h1",
      peer: "h2",
      check: "mtu",
      state: "warning",
      text: "The way to h2 carries 1400 bytes, the device 1500: what is larger gets lost",
      hint: "Raise it",
    },
    { host: null, peer: null, check: "clock", state: "ok", text: "all agree", hint: null },
  ],
};
const WELL: DoctorReport = { ok: true, hosts: 1, pairs: { checked: 0, total: 0 }, findings: ILL.findings.slice(2) };

async function apollo(argv: readonly string[], report: DoctorReport): Promise<CliRun> {
  server = startTestServer({
    "POST /api/doctor": (request) =>
      request.path.includes("nosuch") ? errorResponse(404, { code: "not-found", message: "Cannot find host" }) : report,
    "GET /api/hosts": () => [hostJson({ name: "h1" })],
  });
  return runTestCli(argv, { env: { APOLLO_SERVER: server.url, APOLLO_TOKEN: "secret" } });
}

test("apollo net doctor prints faults with their cure, and ends with 1", async () => {
  const run = await apollo(["net", "doctor"], ILL);
  expect(run.code).toBe(1);
  expect(run.out).toBe(
    [
      "ERROR  h1       firewall  UDP 6784 (VXLAN) does not come in",
      "                          nft delete rule inet t c handle 2   (on h1)",
      "warn   h1 → h2  mtu       The way to h2 carries 1400 bytes, the device 1500:",
      "                          what is larger gets lost",
      "                          Raise it",
      "40 hosts, 440 of 1560 pairs, 3 checks: 1 error, 1 warning, 1 well",
      "",
    ].join("\n"),
  );
});

test("apollo net doctor ends with 0 when all is well; --verbose shows what that is, --json all", async () => {
  expect(await apollo(["net", "doctor"], WELL)).toEqual({
    code: 0,
    err: "",
    out: "1 host, 0 pairs, 1 checks: 0 errors, 0 warnings, 1 well\n",
  });
  expect(formatDoctor(WELL, paintFor({ color: false }), { columns: 80, verbose: true })).toStartWith(
    "ok     all  clock  all agree\n",
  );
  await server?.stop();
  expect(JSON.parse((await apollo(["net", "doctor", "--json"], ILL)).out)).toEqual(ILL);
});

test("apollo net doctor --host asks about one, and names near names of one that is not there", async () => {
  await apollo(["net", "doctor", "--host", "h1"], WELL);
  expect(server?.requests.map(({ path }) => path)).toEqual(["/api/doctor?host=h1"]);
});
