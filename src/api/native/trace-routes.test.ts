import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../model/error.ts";
import { Client } from "./handler.fixture.ts";
import { parseJoin } from "./parse-join.ts";
import { parseTrace } from "./parse-trace.ts";

test("POST /api/trace and /api/doctor ask the server, with the right to write", async () => {
  const client = new Client();
  const [status, report] = await client.send("POST", "/api/trace", { from: "web", to: "db", port: 5432 });
  expect([status, report]).toEqual([
    200,
    { from: "web", to: "db", protocol: "tcp", port: 5432, ok: true, broken: null, steps: [] },
  ]);
  expect((await client.send("POST", "/api/doctor"))[0]).toBe(200);
  expect((await client.send("GET", "/api/trace"))[0]).toBe(405);
  expect((await client.send("GET", "/api/doctor"))[0]).toBe(405);
  expect((await client.send("POST", "/api/trace/more", {}))[0]).toBe(404);
  expect((await client.send("POST", "/api/trace", { to: "" }))[0]).toBe(422);
  expect((await client.send("POST", "/api/trace", { to: "db", port: 0 }))[0]).toBe(422);
  expect(client.actions.slice(0, 2)).toEqual(["write trace", "write doctor"]);
});

test("parseTrace() gives a question or an AppError for any JSON", () => {
  expect(parseTrace({ to: "db" })).toEqual({
    from: null,
    to: "db",
    port: null,
    protocol: "tcp",
    family: null,
    here: null,
  });
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (whole, to) => {
      for (const value of [whole, { to, from: whole }]) {
        try {
          parseTrace(value);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }
    }),
  );
});

test("parseJoin() reads what a machine found out about itself, within limits, and does without", () => {
  const join = { name: "h1", address: "192.0.2.1", resources: {}, hostRanges: [], labels: {} };
  expect(parseJoin(join)).not.toHaveProperty("examination");
  const finding = { check: "disk", state: "error", text: "x".repeat(5000), hint: null };
  const { examination } = parseJoin({
    ...join,
    examination: { clockMs: 7, force: true, findings: Array(500).fill(finding) },
  });
  expect(examination).toMatchObject({ clockMs: 7, force: true });
  expect(examination?.findings).toHaveLength(100);
  expect(examination?.findings[0]).toEqual({ ...finding, state: "error", text: "x".repeat(2000) });
  expect(() => parseJoin({ ...join, examination: { clockMs: 7, findings: [{ state: "error" }] } })).toThrow(AppError);
});
