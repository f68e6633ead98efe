import { expect, test } from "bun:test";
import { fakeRequest } from "../sim/fake-request.ts";
import { parseDiscoveryFile } from "./discovery-config.ts";
import { localScripts, OWN_DEFINITION, refuseFileScripts, scriptsOf } from "./script-rules.ts";

const HCL = `service { name = "web"
  checks = [{ ttl = "10s" }, { docker_container_id = "c1", args = ["true"], interval = "10s" }] }`;

test.each([
  ["a.json", '{"check": {"name": "c", "args": ["true"]}}', '"a.json": check.args is a script'],
  ["b.json", '{"checks": [{"ttl": "1s"}, {"Args": ["x"]}]}', '"b.json": checks[1].Args is a script'],
  [
    "c.json",
    '{"services": [{"name": "w", "Check": {"DockerContainerID": "c1"}}]}',
    "services[0].Check.DockerContainerID",
  ],
  ["d.hcl", HCL, ".checks[1].docker_container_id"],
])("%s with %j does not start while scripts are off", (path, text, message) => {
  const files = [{ path, file: parseDiscoveryFile(text, path) }];
  expect(() => refuseFileScripts(files, { scripts: "off" })).toThrow(message);
  expect(refuseFileScripts(files, { scripts: "local" })).toBeUndefined();
  expect(refuseFileScripts(files, { scripts: "all" })).toBeUndefined();
});

test("arguments that are no check's do not count", () => {
  const text =
    '{"service": {"name": "w", "meta": {"args": "x"}, "proxy": {"args": ["y"]}, "check": {"ttl": "1s", "args": []}}}';
  expect(refuseFileScripts([{ path: "a.json", file: parseDiscoveryFile(text, "a.json") }], { scripts: "off" })).toBe(
    undefined,
  );
});

test("the node's own definitions may be scripts where those of clients may not, and only their programs run", () => {
  const own = fakeRequest("PUT", "/v1/agent/check/register", { headers: OWN_DEFINITION });
  const client = fakeRequest("PUT", "/v1/agent/check/register");
  const said = (scripts: "off" | "local" | "all"): readonly string[] =>
    [own, client].map((request) => scriptsOf({ scripts })(request));
  expect(said("off")).toEqual(["off", "off"]);
  expect(said("local")).toEqual(["all", "local"]);
  expect(said("all")).toEqual(["all", "all"]);
  const runs = localScripts({ scripts: "local", services: [], checks: [{ name: "c", args: ["a", "b"] }] });
  expect([runs(["a", "b"]), runs(["a"])]).toEqual([true, false]);
});
