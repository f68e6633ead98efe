import { expect, test } from "bun:test";
import { parseServiceCheck } from "./parse-service-checks.ts";

const PLACE = { id: "h1:box:80", container: "c1", address: "10.2.1.2", port: 80 };

function parse(meta: Readonly<Record<string, string>>) {
  return parseServiceCheck(meta, PLACE);
}

test("parseServiceCheck() reads registrator's variables", () => {
  const table: readonly (readonly [Record<string, string>, string, object])[] = [
    [{ check_http: "/health" }, "http", { HTTP: "http://10.2.1.2:80/health", Interval: "10s" }],
    [
      { check_http: "health", check_http_method: "HEAD" },
      "http",
      { HTTP: "http://10.2.1.2:80/health", Method: "HEAD" },
    ],
    [
      { check_https: "/", check_tls_skip_verify: "true" },
      "http",
      { HTTP: "https://10.2.1.2:80/", TLSSkipVerify: true },
    ],
    [
      { check_tcp: "true", check_interval: "3s", check_timeout: "1s" },
      "tcp",
      { TCP: "10.2.1.2:80", Interval: "3s", Timeout: "1s" },
    ],
    [{ check_grpc: "true", check_grpc_use_tls: "true" }, "grpc", { GRPC: "10.2.1.2:80", GRPCUseTLS: true }],
    [
      { check_script: "nc -z $SERVICE_IP $SERVICE_PORT" },
      "docker",
      { DockerContainerID: "c1", Shell: "/bin/sh", Args: ["nc -z 10.2.1.2 80"] },
    ],
    [{ check_ttl: "30s", check_tcp: "true" }, "ttl", { TTL: "30s" }],
    [{ check_cmd: "/check.sh", check_tcp: "true" }, "docker", { Args: ["/check.sh"] }],
  ];
  for (const [meta, type, definition] of table) expect(parse(meta)).toMatchObject({ type, definition });
});

test("parseServiceCheck() is critical until it was tried, unless told otherwise", () => {
  expect(parse({ check_tcp: "1" })?.status).toBe("critical");
  expect(parse({ check_tcp: "1", check_initial_status: "passing" })?.status).toBe("passing");
  expect(parse({ check_tcp: "1", check_initial_status: "sunny" })?.status).toBe("critical");
});

test("parseServiceCheck() takes away after a minute at the earliest", () => {
  expect(parse({ check_tcp: "1" })?.deregisterAfterMs).toBe(0);
  expect(parse({ check_tcp: "1", check_deregister_after: "1s" })?.deregisterAfterMs).toBe(60_000);
  expect(parse({ check_tcp: "1", check_deregister_after: "10m" })?.deregisterAfterMs).toBe(600_000);
});

test("parseServiceCheck() finds no check where there is none", () => {
  expect(parse({ version: "3", check_interval: "5s" })).toBeNull();
});
