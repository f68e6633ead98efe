import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { chooseApiVersion } from "./docker-client.ts";
import { dockerError } from "./docker-error.ts";
import { splitImage } from "./docker-pull.ts";
import { parseEvent } from "./docker-watch.ts";
import { Demultiplexer } from "./demultiplex.ts";
import { changeKey, parseContainer } from "./parse-container.ts";

test("chooseApiVersion() takes the newest that both speak, and refuses when there is none", () => {
  expect(chooseApiVersion({ ApiVersion: "1.41", MinAPIVersion: "1.12" })).toBe("1.41");
  expect(chooseApiVersion({ ApiVersion: "1.52", MinAPIVersion: "1.44" })).toBe("1.52");
  expect(chooseApiVersion({ ApiVersion: "1.99", MinAPIVersion: "1.44" })).toBe("1.52");
  expect(() => chooseApiVersion({ ApiVersion: "1.24", MinAPIVersion: "1.12" })).toThrow("it speaks API 1.12 to 1.24");
  expect(() => chooseApiVersion({ ApiVersion: "1.99", MinAPIVersion: "1.60" })).toThrow("we 1.40 to 1.52");
});

describe("dockerError()", () => {
  const attempt = { what: 'start container "web"', object: "web" };
  const table: readonly [number | string, string, string, string][] = [
    [404, "No such image: web:1", "not-found", "image"],
    [500, "manifest for reg/web:1 not found: manifest unknown: manifest unknown", "not-found", "image"],
    [500, "Get https://reg/v2/: http: server gave HTTP response to HTTPS client", "unavailable", "image"],
    [500, 'Get "https://reg/v2/": dial tcp: lookup reg on 1.1.1.1:53: no such host', "unavailable", "image"],
    [500, "Get https://reg/v2/: unauthorized: authentication required", "denied", "image"],
    [409, 'Conflict. The container name "/web" is already in use by container "x"', "conflict", "name"],
    [403, "Address already in use", "conflict", "address"],
    [500, "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated", "conflict", "port"],
    [404, "network apollo not found", "not-found", "network"],
    [400, 'OCI runtime create failed: exec: "x": executable file not found in $PATH: unknown', "invalid", "command"],
    [404, "No such container: web", "not-found", "container"],
    [400, "something odd", "invalid", "engine"],
    [500, "something odd", "unavailable", "engine"],
    ["ECONNREFUSED", "connect ECONNREFUSED", "unavailable", "engine"],
  ];
  for (const [status, message, code, object] of table) {
    test(`${status} ${message.slice(0, 40)}`, () => {
      const error =
        typeof status === "number"
          ? { statusCode: status, json: { message } }
          : Object.assign(new Error(message), { code: status });
      const mapped = dockerError(error, attempt);
      expect([mapped.code, mapped.details["object"]]).toEqual([code, object]);
      expect(mapped.message).toStartWith('Cannot start container "web": ');
      expect(mapped.message).toContain(message);
    });
  }
});

test("splitImage() finds the tag behind a registry's port, and adds one", () => {
  const table = {
    web: ["web", "latest"],
    "web:1": ["web", "1"],
    "reg:5000/team/web": ["reg:5000/team/web", "latest"],
    "reg:5000/web:2": ["reg:5000/web", "2"],
    "web@sha256:ab": ["web", "sha256:ab"],
  };
  for (const [image, [fromImage, tag]] of Object.entries(table))
    expect(splitImage(image)).toEqual({ fromImage: fromImage ?? "", tag: tag ?? "" });
});

test("parseEvent() reads deaths with their code, drops the noise of execs", () => {
  const line = (Action: string, Attributes = {}): string =>
    JSON.stringify({ Type: "container", Action, Actor: { ID: "c1", Attributes } });
  expect(parseEvent(line("die", { exitCode: "137" }))).toEqual({
    kind: "container",
    action: "die",
    id: "c1",
    exitCode: 137,
  });
  expect(parseEvent(line("kill", { signal: "15" }))).toEqual({
    kind: "container",
    action: "kill",
    id: "c1",
    signal: 15,
  });
  expect(parseEvent(line("health_status: healthy"))).toEqual({ kind: "container", action: "health_status", id: "c1" });
  expect(parseEvent(line("exec_start: /bin/check"))).toBeNull();
  expect(parseEvent('{"Type":"network","Action":"create","Actor":{"ID":"n1"}}')).toEqual({
    kind: "network",
    action: "create",
    id: "n1",
  });
  fc.assert(
    fc.property(
      fc.oneof(fc.json(), fc.string()),
      (text) => parseEvent(text) === null || typeof parseEvent(text)?.kind === "string",
    ),
  );
});

test("property: the demultiplexer gives the same output however the frames are cut", () => {
  const frame = fc.record({ stderr: fc.boolean(), bytes: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(fc.array(frame), fc.integer({ min: 1, max: 17 }), (frames, size) => {
      const wire = frames.flatMap(({ stderr, bytes }) => [stderr ? 2 : 1, 0, 0, 0, 0, 0, 0, bytes.length, ...bytes]);
      const demultiplexer = new Demultiplexer();
      const got: Record<string, number[]> = { stdout: [], stderr: [] };
      for (let at = 0; at < wire.length; at += size) {
        for (const { stream, bytes } of demultiplexer.push(Uint8Array.from(wire.slice(at, at + size))))
          got[stream]?.push(...bytes);
      }
      const expected = (stderr: boolean): number[] =>
        frames.filter((f) => f.stderr === stderr).flatMap((f) => [...f.bytes]);
      expect(got).toEqual({ stdout: expected(false), stderr: expected(true) });
    }),
  );
});

test.each([
  [{ Privileged: false, CapAdd: null, NetworkMode: "apollo" }, { netAdmin: false }],
  [{ Privileged: false, CapAdd: ["NET_RAW", "SYS_PTRACE"] }, { netAdmin: false }],
  [{ Privileged: false, CapAdd: ["CAP_NET_ADMIN"] }, { netAdmin: true }],
  [{ Privileged: false, CapAdd: ["net_admin"] }, { netAdmin: true }],
  [{ Privileged: false, CapAdd: ["ALL"] }, { netAdmin: true }],
  [{ Privileged: true }, { netAdmin: true }],
  [{}, { netAdmin: true }],
  [
    { Privileged: false, NetworkMode: "container:abc" },
    { netAdmin: false, networkOf: "abc" },
  ],
] as const)("parseContainer() tells who may change its network: %p", (HostConfig, expected) => {
  const { netAdmin, networkOf } = parseContainer({ Id: "c1", HostConfig });
  expect({ netAdmin, networkOf }).toEqual({ networkOf: undefined, ...expected });
});

test("parseContainer() takes an inspection with nothing in it, and changeKey() sees a restart", () => {
  expect(parseContainer({ Id: "c1" })).toMatchObject({
    id: "c1",
    state: "dead",
    addresses: {},
    fixedAddress: null,
    pid: null,
  });
  const entry = (EndpointID: string) => ({
    Id: "c1",
    State: "running",
    Names: ["/a"],
    NetworkSettings: { Networks: { n: { EndpointID } } },
  });
  expect(changeKey(entry("e1"))).toBe(changeKey(entry("e1")));
  expect(changeKey(entry("e1"))).not.toBe(changeKey(entry("e2")));
});
