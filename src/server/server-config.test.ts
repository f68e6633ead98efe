import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { makeServerConfig, parseServerFile, readServerEnvironment, SERVER_FILE_KEYS } from "./server-config.ts";

const EXAMPLE = new URL("../../deploy/server.example.toml", import.meta.url).pathname;
const machine = { version: "1.2.3", ownAddress: "192.0.2.7" };

test("the commented example file loads, covers every key and states the defaults", () => {
  const value = Bun.TOML.parse(readFileSync(EXAMPLE, "utf8"));
  const file = parseServerFile(value, EXAMPLE);
  expect(Object.keys(value).toSorted()).toEqual(SERVER_FILE_KEYS.toSorted());
  const plain = makeServerConfig([], machine);
  expect(makeServerConfig([file], machine)).toEqual({ ...plain, advertise: ["192.0.2.10", "127.0.0.1"] });
});

test("makeServerConfig() lets flags win over environment over file", () => {
  const env = readServerEnvironment({ APOLLO_RANGE: "10.7.0.0/16", APOLLO_DATACENTER: "east", OTHER: "x" });
  const config = makeServerConfig([{ range: "10.6.0.0/16", dnsDomain: "mesh" }, env, { datacenter: "west" }], machine);
  expect([config.initial.range, config.initial.datacenter, config.initial.dnsDomain]).toEqual([
    "10.7.0.0/16",
    "west",
    "mesh",
  ]);
  expect(config.advertise).toEqual(["192.0.2.7", "127.0.0.1"]);
});

test.each([
  [{ range: "10.2.0.1/16" }, "bits after the prefix"],
  [{ listen: "0.0.0.0:99999" }, "Cannot listen"],
  [{ blockPrefix: "8" }, "it must be 16 to 29"],
  [{ virtualRange: "10.2.8.0/24" }, "it overlaps the container range 10.2.0.0/16"],
  [{ virtualRange: "10.9.0.0/30" }, "at most 28"],
  [{ dnsDomain: "no spaces" }, 'dnsDomain "no spaces"'],
  [{ encryption: "yes" }, "it must be one of auto, required, off"],
  [{ trustedRanges: "10.0.0.0/8,everywhere" }, 'Cannot read range "everywhere"'],
])("makeServerConfig() refuses %p", (input, message) => {
  expect(() => makeServerConfig([input], machine)).toThrow(message);
});

test("a new cluster gets an IPv6 range made by chance unless it is given or off; an existing one only what is given", () => {
  const newRange6 = "fd00:1:2::/64";
  const rangeOf = (range6?: string): readonly [string | null | undefined, boolean] => {
    const config = makeServerConfig([{ range6 }], { ...machine, newRange6 });
    return [config.initial.range6, config.range6IsGiven];
  };
  expect(rangeOf()).toEqual([newRange6, false]);
  expect(rangeOf("auto")).toEqual([newRange6, false]);
  expect(rangeOf("off")).toEqual([null, false]);
  expect(rangeOf("FD12:3456::/64")).toEqual(["fd12:3456::/64", true]);
  expect(() => rangeOf("fd12::/48")).toThrow("must be a /64");
});

test("a server listens on and is reached by IPv6 addresses, in brackets or not", () => {
  const config = makeServerConfig([{ listen: "[::]:9443", advertise: "[2001:db8::7],192.0.2.7" }], machine);
  expect([config.bind, config.port, config.advertise]).toEqual(["::", 9443, ["2001:db8::7", "192.0.2.7", "127.0.0.1"]]);
  const { trustedRanges } = makeServerConfig([{ trustedRanges: "192.0.2.0/24,FC00::/7" }], machine).initial;
  expect(trustedRanges).toEqual(["192.0.2.0/24", "fc00::/7"]);
});

test("trusted ranges come as a list from the file, with commas from elsewhere, and may be none", () => {
  const rangesOf = (trustedRanges: string | readonly string[]): readonly string[] =>
    makeServerConfig([{ trustedRanges }], machine).initial.trustedRanges;
  expect(rangesOf("10.0.0.0/8, 192.0.2.0/24")).toEqual(["10.0.0.0/8", "192.0.2.0/24"]);
  expect(rangesOf(["192.0.2.0/24"])).toEqual(["192.0.2.0/24"]);
  expect(rangesOf("")).toEqual([]);
  expect(makeServerConfig([readServerEnvironment({ APOLLO_ENCRYPTION: "required" })], machine).initial.encryption).toBe(
    "required",
  );
});

test("makeServerConfig() keeps of [dns] what was chosen; parseServerFile() refuses what cannot be", () => {
  const file = parseServerFile(
    { dns: { onlyPassing: true, staleSeconds: 3600, serviceTtlSeconds: { "web*": 5 } } },
    "f",
  );
  expect(makeServerConfig([file], machine).initial.dns).toEqual({
    onlyPassing: true,
    serviceTtlSeconds: { "web*": 5 },
  });
  for (const dns of [{ altDomains: ["No Domain"] }, { serviceTtlSeconds: { web: -1 } }, { onlypassing: true }]) {
    expect(() => parseServerFile({ dns }, "f")).toThrow("dns");
  }
});

test("parseServerFile() refuses an unknown key and names those that there are", () => {
  try {
    parseServerFile({ rnage: "10.2.0.0/16" }, "server.toml");
    throw new Error("accepted");
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    expect((error as AppError).hint).toContain("range");
    expect((error as AppError).message).toContain("rnage");
  }
});

test("makeServerConfig() takes another virtual range than the default when the container range has that", () => {
  const { range, virtualRange } = makeServerConfig([{ range: "10.0.0.0/8", blockPrefix: 24 }], machine).initial;
  expect([range, virtualRange]).toEqual(["10.0.0.0/8", "172.16.0.0/16"]);
});

test.each([
  [{ APOLLO_SCRIPT_CHECKS: "on" }, true],
  [{ APOLLO_SCRIPT_CHECKS: "off" }, false],
  [{}, false],
])("the switch of the agent for scripts, %p, is the server's, too", (env, scripts) => {
  expect(makeServerConfig([readServerEnvironment(env)], machine).consul.scripts).toBe(scripts);
  expect(makeServerConfig([readServerEnvironment(env), { enableScriptChecks: true }], machine).consul.scripts).toBe(
    true,
  );
  const wrong = readServerEnvironment({ APOLLO_SCRIPT_CHECKS: "maybe" });
  expect(() => makeServerConfig([wrong], machine)).toThrow("must be on or off");
});
