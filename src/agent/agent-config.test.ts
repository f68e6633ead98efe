import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseAgentConfig, parseServerUrl } from "./agent-config.ts";
import type { AgentFlags } from "./agent-config.ts";

const MACHINE = { hostName: "Alpha.example.org", address: parseIpv4("192.168.0.7") };

test("parseAgentConfig() takes flags over environment over the machine", () => {
  expect(parseAgentConfig({}, {}, MACHINE)).toEqual({
    name: "alpha",
    address: parseIpv4("192.168.0.7"),
    labels: {},
    dataDir: "/var/lib/apollo/agent",
    dockerSocket: "/var/run/docker.sock",
    fastPath: true,
    scriptChecks: false,
    consul: "read",
    serviceTags: [],
    logLevel: "info",
    keyRotationDays: 30,
    serverUrl: null,
    token: null,
  });
  const environment = {
    APOLLO_NAME: "env",
    APOLLO_SERVER: "s1",
    APOLLO_TOKEN: "t",
    APOLLO_LABELS: "a=1,b=2",
    APOLLO_SERVICE_TAGS: "rack-7, x\\,y",
    APOLLO_DOCKER_SOCKET: "unix:///d.sock",
  };
  const config = parseAgentConfig({ name: "flag", label: ["disk=ssd=fast"] }, environment, MACHINE);
  expect(config).toMatchObject({ name: "flag", serverUrl: "https://s1:8443", token: "t", dockerSocket: "/d.sock" });
  expect(config.labels).toEqual({ disk: "ssd=fast" });
  expect(config.serviceTags).toEqual(["rack-7", "x,y"]);
  expect(parseAgentConfig({}, environment, MACHINE).labels).toEqual({ a: "1", b: "2" });
});

test("parseAgentConfig() refuses what cannot be, naming it", () => {
  const refused: readonly [AgentFlags, Record<string, string>, string][] = [
    [{ address: "10.0.0" }, {}, "10.0.0"],
    [{ name: "under_score" }, {}, "under_score"],
    [{ label: ["novalue"] }, {}, "novalue"],
    [{ server: "http://x" }, {}, "http://x"],
    [{}, { APOLLO_LOG_LEVEL: "loud" }, "loud"],
    [{ consul: "all" }, {}, 'Consul\'s API to "all"'],
    [{}, { APOLLO_DOCKER_SOCKET: "docker.sock" }, "docker.sock"],
  ];
  for (const [flags, environment, text] of refused) {
    expect(() => parseAgentConfig(flags, environment, MACHINE)).toThrow(AppError);
    expect(() => parseAgentConfig(flags, environment, MACHINE)).toThrow(text);
  }
  expect(() => parseAgentConfig({}, {}, { ...MACHINE, address: null })).toThrow("default route");
});

test("parseServerUrl() fills in scheme and port", () => {
  const table = {
    "10.0.0.1": "https://10.0.0.1:8443",
    "https://s:443": "https://s:443",
    "s:9000": "https://s:9000",
    "https://s/": "https://s:8443",
  };
  for (const [text, expected] of Object.entries(table)) expect(parseServerUrl(text)).toBe(expected);
  for (const text of ["", "https://", "https://s/path", "s:port"]) expect(() => parseServerUrl(text)).toThrow(AppError);
});

test("parseAgentConfig() turns the fast path off by flag or environment, and takes nothing but on and off", () => {
  const fastPath = (flags: AgentFlags, setting?: string): boolean =>
    parseAgentConfig(flags, setting === undefined ? {} : { APOLLO_FAST_PATH: setting }, MACHINE).fastPath;
  expect([fastPath({}), fastPath({}, "on"), fastPath({ fastPath: true }, "off")]).toEqual([true, true, false]);
  expect([fastPath({ fastPath: false }), fastPath({ fastPath: false }, "on")]).toEqual([false, false]);
  expect(() => fastPath({}, "yes")).toThrow(
    new AppError("invalid", 'Cannot use APOLLO_FAST_PATH "yes": it must be on or off'),
  );
});
