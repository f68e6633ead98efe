import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseHostCheck, parseHostPort } from "./parse-host-check.ts";

const TIMED = { Interval: "10s" };
const NO_TLS = { serverName: "", skipVerify: false };

test("parseHostCheck() reads every type that a host runs", () => {
  const table: readonly (readonly [string, Record<string, unknown>, object])[] = [
    [
      "http",
      { HTTP: "http://a/x", Method: "post", Header: { A: ["b"] }, Body: "c", TLSSkipVerify: true },
      {
        kind: "http",
        url: "http://a/x",
        method: "POST",
        headers: { A: ["b"] },
        body: "c",
        tls: { serverName: "", skipVerify: true },
        followRedirects: true,
      },
    ],
    ["tcp", { TCP: "[::1]:80" }, { kind: "tcp", host: "::1", port: 80, tls: null }],
    ["tcp", { TCP: "a.b:80", TCPUseTLS: true }, { kind: "tcp", host: "a.b", port: 80, tls: NO_TLS }],
    ["udp", { UDP: "10.0.0.1:53" }, { kind: "udp", host: "10.0.0.1", port: 53 }],
    ["grpc", { GRPC: "a:1/my.svc" }, { kind: "grpc", host: "a", port: 1, service: "my.svc", tls: null }],
    ["h2ping", { H2PING: "a:1" }, { kind: "h2ping", host: "a", port: 1, tls: NO_TLS }],
    ["h2ping", { H2PING: "a:1", H2PingUseTLS: false }, { kind: "h2ping", host: "a", port: 1, tls: null }],
    ["script", { Args: ["x", "$y"] }, { kind: "script", argv: ["x", "$y"] }],
    [
      "docker",
      { DockerContainerID: "c1", Args: ["x", "y"] },
      { kind: "docker", container: "c1", argv: ["x", "y"], declared: false },
    ],
    [
      "docker",
      { DockerContainerID: "c1", Shell: "/bin/bash", Args: ["x", "y"] },
      { kind: "docker", container: "c1", argv: ["/bin/bash", "-c", "x y"], declared: false },
    ],
    ["os_service", { OSService: "nginx.service" }, { kind: "os-service", name: "nginx.service" }],
  ];
  for (const [type, definition, target] of table) {
    const parsed = parseHostCheck({ type, definition: { ...TIMED, ...definition } });
    expect(parsed).toMatchObject({
      intervalMs: 10_000,
      timeoutMs: type === "script" || type === "docker" ? 30_000 : 10_000,
    });
    expect(typeof parsed === "string" ? parsed : parsed.target).toEqual(target as never);
  }
});

test("parseHostCheck() keeps times and output within bounds", () => {
  const parsed = parseHostCheck({
    type: "tcp",
    definition: { TCP: "a:1", Interval: "10ms", Timeout: "1m30s", OutputMaxSize: 100_000, FailuresBeforeCritical: 3 },
  });
  expect(parsed).toMatchObject({
    intervalMs: 1000,
    timeoutMs: 90_000,
    outputMax: 4096,
    thresholds: { successBeforePassing: 0, failuresBeforeWarning: 3, failuresBeforeCritical: 3 },
  });
});

test("parseHostCheck() says what is wrong", () => {
  const table: readonly (readonly [string, Record<string, unknown>])[] = [
    ["http", { HTTP: "ftp://a" }],
    ["http", { HTTP: "http://a", Header: { "A\r\nB": ["c"] } }],
    ["http", { HTTP: "http://a", Header: { A: ["c\r\nd: e"] } }],
    ["http", { HTTP: "http://a", Method: "GET / HTTP/1.1" }],
    ["tcp", { TCP: "a" }],
    ["tcp", { TCP: "a:70000" }],
    ["script", { Args: [] }],
    ["docker", { Args: ["x"], DockerContainerID: "../x" }],
    ["os_service", { OSService: "--now" }],
    ["ttl", {}],
  ];
  for (const [type, definition] of table)
    expect(parseHostCheck({ type, definition: { ...TIMED, ...definition } })).toStartWith("Cannot run the check: ");
  expect(parseHostCheck({ type: "tcp", definition: { TCP: "a:1" } })).toBe("Cannot run the check: it has no interval");
});

test("property: any definition gives a check or a text", () => {
  const field = fc.constantFrom(
    "HTTP",
    "TCP",
    "UDP",
    "GRPC",
    "H2PING",
    "Args",
    "Interval",
    "Header",
    "Timeout",
    "OSService",
  );
  const definition = fc.dictionary(field, fc.oneof(fc.string(), fc.jsonValue()));
  const type = fc.constantFrom("http", "tcp", "udp", "grpc", "h2ping", "script", "docker", "os_service", "x");
  fc.assert(
    fc.property(type, definition, (kind, given) => {
      const parsed = parseHostCheck({ type: kind, definition: given });
      expect(typeof parsed === "string" || parsed.intervalMs >= 1000).toBe(true);
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      const place = parseHostPort(text);
      expect(place === null || (place.port > 0 && place.port < 65_536)).toBe(true);
    }),
  );
});
