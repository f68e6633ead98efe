import { expect, test } from "bun:test";
import { makeDiscoveryConfig, parseDiscoveryFile } from "./discovery-config.ts";

const MACHINE = { hostName: "m1.example.org", homeDir: "/home/u" };

const HCL = `
node_name  = "n1"
datacenter = "dc7"
server     = true
ports {
  http = 18500
}
ports { dns = 18600 }
limits {
  http_max_conns_per_client = 20
  request_limits { mode = "enforcing", read_rate = 500, write_rate = -1 }
}
acl = {
  enabled        = true
  default_policy = "deny"
  tokens { default = "secret" }
}
reconnect_timeout = "24h"
service {
  name = "web"
  port = 80
  meta { owner = "me" }
  check { http = "http://127.0.0.1/", interval = "10s" }
  check { id = "ttl", ttl = "30s" }
}
services = [{ name = "db" }]
check { name = "disk", args = ["/bin/check", "-v"], interval = "30s" }
`;

const JSON_TEXT = JSON.stringify({
  node_name: "n1",
  datacenter: "dc7",
  server: true,
  ports: { http: 18500, dns: 18600 },
  limits: {
    http_max_conns_per_client: 20,
    request_limits: { mode: "enforcing", read_rate: 500, write_rate: -1 },
  },
  acl: { enabled: true, default_policy: "deny", tokens: { default: "secret" } },
  reconnect_timeout: "24h",
  services: [
    {
      name: "web",
      port: 80,
      meta: { owner: "me" },
      checks: [
        { http: "http://127.0.0.1/", interval: "10s" },
        { id: "ttl", ttl: "30s" },
      ],
    },
    { name: "db" },
  ],
  checks: [{ name: "disk", args: ["/bin/check", "-v"], interval: "30s" }],
});

test("HCL and JSON say the same", () => {
  const made = makeDiscoveryConfig([parseDiscoveryFile(HCL, "agent.hcl")], {}, MACHINE);
  expect(made).toEqual(makeDiscoveryConfig([parseDiscoveryFile(JSON_TEXT, "agent.json")], {}, MACHINE));
  expect(made).toMatchObject({
    node: "n1",
    httpPort: 18500,
    dnsPort: 18600,
    acl: "deny",
    definitionsToken: "secret",
    clientMax: 20,
    rates: { readsPerSecond: 500, writesPerSecond: Infinity },
    reapAfterMs: 24 * 3_600_000,
  });
  expect(made.services).toHaveLength(2);
});

test("without a file members are reaped after 72 hours, ACLs are off and the usual limit holds", () => {
  const made = makeDiscoveryConfig([], { server: true }, MACHINE);
  expect(made).toMatchObject({ node: "m1", acl: "off", definitionsToken: null, clientMax: null, rates: null });
  expect(made.reapAfterMs).toBe(72 * 3_600_000);
});

test.each([
  ["a.hcl", "node_name = ", 'Cannot read "a.hcl": its blocks end too early'],
  ["a.hcl", "node_nam = 1", 'Cannot use "a.hcl"'],
  ["a.hcl", 'ports { http = "x" }', 'Cannot use "a.hcl": ports http'],
  ["a.json", "node_name = 1", 'Cannot read "a.json": it is not JSON'],
  ["a.json", '{"acl": {"default_policy": "maybe"}}', 'Cannot use "a.json": acl default_policy'],
])("parseDiscoveryFile(%s, %j) is refused", (path, text, message) => {
  expect(() => parseDiscoveryFile(text, path)).toThrow(message);
});

test("a reconnect_timeout below 8 hours is refused", () => {
  const file = parseDiscoveryFile('{"reconnect_timeout": "1h"}', "a.json");
  expect(() => makeDiscoveryConfig([file], { server: true }, MACHINE)).toThrow("8h or more");
});
