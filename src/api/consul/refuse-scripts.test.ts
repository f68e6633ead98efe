import { expect, test } from "bun:test";
import { openConsul } from "../../sim/consul-fixture.ts";
import type { ScriptChecks } from "../../model/host-check.ts";

const SCRIPT = { Name: "disk", Args: ["/bin/check"], Interval: "10s" };
const DOCKER = { Name: "inside", DockerContainerID: "c1", Shell: "/bin/sh", Args: ["true"], Interval: "10s" };

test.each([
  ["agent/check/register", SCRIPT],
  ["agent/check/register", DOCKER],
  ["agent/service/register", { Name: "web", Check: SCRIPT }],
  ["agent/service/register", { Name: "web", Checks: [{ TTL: "10s" }, DOCKER] }],
])("%s of a script is refused as a whole where the host runs none: %p", async (path, body) => {
  let scripts: ScriptChecks | null = "off";
  const consul = await openConsul({ scripts: () => scripts });
  const register = async (): Promise<readonly [number, string]> => {
    const { status, text } = await consul.ask("PUT", path, { body });
    return [status, text];
  };
  expect(await register()).toEqual([
    500,
    expect.stringMatching(/^Scripts are disabled on this agent; .*--enable-script/),
  ]);
  scripts = "local";
  expect(await register()).toEqual([500, expect.stringMatching(/configuration files; .*--enable-script-checks/)]);
  expect(await consul.get("agent/services")).toEqual({});
  expect(await consul.get("agent/checks")).toEqual({});
  // An agent that does not say is taken at its checks' word, as it was before agents said so.
  scripts = null;
  expect(await register()).toEqual([200, ""]);
  scripts = "all";
  expect(await register()).toEqual([200, ""]);
});

test("checks that run no program are taken wherever scripts are off", async () => {
  const consul = await openConsul({ scripts: () => "off" });
  await consul.put("agent/check/register", { Name: "up", HTTP: "http://127.0.0.1/", Interval: "10s" });
  await consul.put("agent/service/register", { Name: "web", Check: { TTL: "10s" } });
  expect(Object.keys((await consul.get("agent/checks")) as object).toSorted()).toEqual(["service:web", "up"]);
});

test("what the request itself gets wrong is said first", async () => {
  const consul = await openConsul({ scripts: () => "off" });
  const { status, text } = await consul.ask("PUT", "agent/check/register", { body: { Name: "disk", Args: ["x"] } });
  expect([status, text]).toEqual([400, expect.stringContaining("Interval must be > 0")]);
});
