/** Answers byte for byte, against golden files; UPDATE_GOLDEN=1 writes them anew. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Endpoint } from "../../model/endpoint.ts";
import type { ServiceName } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { hostNamed, openConsul } from "../../sim/consul-fixture.ts";

type Request = readonly [method: string, target: string, body?: unknown];

/** Headers that are part of an answer's meaning. */
const SHOWN_HEADERS = ["content-type", "x-consul-index"];

async function expectGolden(name: string, requests: readonly Request[]): Promise<void> {
  const consul = await openConsul({ aclEnabled: name === "acl" });
  consul.parts.platform.setHosts([hostNamed("n1", { server: true }), hostNamed("h2", { address: "192.0.2.12" })]);
  consul.parts.platform.applyEndpoints([CONTAINER], []);
  const parts: string[] = [];
  for (const [method, target, body] of requests) {
    const answer = await consul.ask(method, target, body === undefined ? {} : { body });
    const sent = body === undefined ? "" : ` ${typeof body === "string" ? body : JSON.stringify(body)}`;
    const headers = SHOWN_HEADERS.flatMap((each) =>
      answer.headers[each] === undefined ? [] : [`${each}: ${answer.headers[each]}`],
    );
    parts.push(
      [`> ${method} /v1/${target}${sent}`, `< ${answer.status} ${headers.join(", ")}`, answer.text].join("\n"),
    );
  }
  const text = `${parts.join("\n\n")}\n`;
  const file = new URL(`../../../test/golden/consul-${name}.txt`, import.meta.url).pathname;
  if (process.env["UPDATE_GOLDEN"] === "1" || !existsSync(file)) writeFileSync(file, text);
  expect(readFileSync(file, "utf8")).toBe(text);
  consul.parts.close();
}

const CONTAINER: Endpoint = {
  id: "h2:shop.1:8080",
  service: "shop" as ServiceName,
  address: parseIpv4("10.2.2.5"),
  port: 8080,
  protocol: "tcp",
  tags: ["v1"],
  meta: { attribute: "x" },
  host: "h2",
  container: "shop.1",
  instanceId: null,
  appId: null,
  health: "passing",
};

test("catalog", async () => {
  await expectGolden("catalog", [
    [
      "PUT",
      "catalog/register",
      {
        Node: "ext",
        Address: "192.0.2.77",
        NodeMeta: { external: "true" },
        Service: {
          Service: "db",
          Tags: ["b", "a"],
          Port: 5432,
          Meta: { v: "1" },
          TaggedAddresses: { lan: { address: "192.0.2.78", port: 5433 } },
        },
        Check: { CheckID: "db-up", Name: "db up", Status: "passing", ServiceID: "db" },
      },
    ],
    ["GET", "catalog/datacenters"],
    ["GET", "catalog/nodes"],
    ["GET", "catalog/nodes?node-meta=external:true"],
    ["GET", 'catalog/nodes?filter=Meta.external%20==%20"true"'],
    ["GET", "catalog/services"],
    ["GET", "catalog/services?node-meta=external:true"],
    ["GET", "catalog/service/db"],
    ["GET", "catalog/service/shop"],
    ["GET", "catalog/service/shop?tag=none"],
    ["GET", "catalog/service/none"],
    ["GET", "catalog/node/ext"],
    ["GET", "catalog/node/none"],
    ["GET", "catalog/node-services/h2"],
    ["GET", "catalog/connect/db"],
    ["PUT", "catalog/register", { Node: "ext" }],
    ["PUT", "catalog/register", { Address: "192.0.2.77" }],
    ["PUT", "catalog/register", { Node: "ext", Addres: "192.0.2.77" }],
    ["PUT", "catalog/register", "{"],
    ["PUT", "catalog/deregister", { Node: "h2", ServiceID: "h2:shop.1:8080" }],
    ["PUT", "catalog/deregister", { Node: "ext", ServiceID: "db" }],
    ["GET", "catalog/service/db"],
    ["PUT", "catalog/deregister", { Node: "ext" }],
    ["GET", "catalog/node/ext"],
  ]);
});

test("health", async () => {
  await expectGolden("health", [
    [
      "PUT",
      "catalog/register",
      {
        Node: "ext",
        Address: "192.0.2.77",
        Service: { Service: "shop", ID: "shop-2", Tags: ["v2"], Port: 80 },
        Checks: [
          { Name: "alive", Status: "passing" },
          { CheckID: "shop-2-http", Name: "http", Status: "warning", ServiceID: "shop-2" },
        ],
      },
    ],
    ["GET", "health/service/shop"],
    ["GET", "health/service/shop?passing"],
    ["GET", "health/service/shop?passing=maybe"],
    ["GET", "health/service/shop?tag=V2"],
    ["GET", 'health/service/shop?filter="v2"%20in%20Service.Tags%20and%20Checks.Status%20==%20warning'],
    ["GET", "health/service/shop?filter=Nope"],
    ["GET", "health/node/ext"],
    ["GET", "health/node/none"],
    ["GET", "health/checks/shop"],
    ["GET", "health/state/warning"],
    ["GET", "health/state/unknown"],
    ["GET", "health/state/any"],
    ["GET", "health/connect/shop"],
  ]);
});

test("agent", async () => {
  await expectGolden("agent", [
    ["GET", "agent/self"],
    ["GET", "agent/members"],
    ["GET", "agent/members?wan=1"],
    ["GET", "agent/version"],
    ["GET", "agent/services"],
    [
      "PUT",
      "agent/service/register",
      {
        Name: "web",
        ID: "web-1",
        Tags: ["v1"],
        Port: 80,
        Meta: { a: "b" },
        enable_tag_override: true,
        Checks: [
          { TTL: "30s" },
          { HTTP: "http://127.0.0.1:80/", Interval: "10s", Timeout: "1s", DeregisterCriticalServiceAfter: "1m" },
        ],
      },
    ],
    ["PUT", "agent/check/register", { Name: "disk", args: ["/bin/check", "-v"], interval: "30s", Notes: "n" }],
    ["GET", "agent/services"],
    ["GET", "agent/service/web-1"],
    ["GET", "agent/service/none"],
    ["GET", "agent/checks"],
    ["PUT", "agent/check/pass/service:web-1:1?note=fine"],
    ["PUT", "agent/check/warn/service:web-1:1"],
    ["PUT", "agent/check/fail/service:web-1:1"],
    ["PUT", "agent/check/update/service:web-1:1", { Status: "passing", Output: "ok" }],
    ["PUT", "agent/check/pass/service:web-1:2"],
    ["PUT", "agent/check/pass/none"],
    ["GET", "agent/check/pass/service:web-1:1"],
    ["GET", "agent/health/service/id/web-1"],
    ["GET", "agent/health/service/name/web?format=text"],
    ["GET", "agent/health/service/name/none"],
    ["PUT", "agent/service/maintenance/web-1?enable=true&reason=work"],
    ["GET", "agent/health/service/id/web-1?format=text"],
    ["PUT", "agent/service/maintenance/web-1?enable=false"],
    ["PUT", "agent/service/maintenance/web-1"],
    ["PUT", "agent/maintenance?enable=true"],
    ["GET", "health/state/critical"],
    ["PUT", "agent/maintenance?enable=false"],
    [
      "PUT",
      "agent/service/register?replace-existing-checks",
      { Name: "web", ID: "web-1", Port: 81, Check: { CheckID: "only", TTL: "1m" } },
    ],
    ["GET", "agent/checks"],
    ["PUT", "agent/check/deregister/disk"],
    ["PUT", "agent/check/deregister/disk"],
    ["PUT", "agent/service/deregister/web-1"],
    ["PUT", "agent/service/deregister/web-1"],
    ["PUT", "agent/service/register", { Port: 80 }],
    ["PUT", "agent/service/register", { Name: "x", Check: { TTL: "10s", Interval: "5s" } }],
    ["PUT", "agent/service/register", { Name: "x", Check: { HTTP: "http://127.0.0.1/" } }],
    ["PUT", "agent/service/register", { Name: "x", Meta: { "bad key": "1" } }],
    ["PUT", "agent/join/192.0.2.11"],
    ["PUT", "agent/join/198.51.100.1"],
    ["PUT", "agent/join/127.0.0.9"],
    ["PUT", "agent/join/"],
    ["PUT", "agent/force-leave/none"],
    ["PUT", "agent/leave"],
    ["PUT", "agent/reload"],
    ["GET", "agent/host"],
  ]);
});

test("metrics", async () => {
  await expectGolden("metrics", [
    ["PUT", "kv/a", "1"],
    ["GET", "health/service/shop"],
    ["GET", "health/service/none"],
    ["GET", "catalog/service/shop"],
    ["PUT", "txn", [{ KV: { Verb: "set", Key: "b", Value: "MQ==" } }]],
    ["PUT", "agent/join/198.51.100.1"],
    ["GET", "agent/metrics"],
    ["GET", "agent/metrics?format=prometheus"],
  ]);
});

test("txn", async () => {
  await expectGolden("txn", [
    [
      "PUT",
      "txn",
      [
        { KV: { Verb: "set", Key: "a", Value: "MQ==", Flags: 7 } },
        { KV: { Verb: "cas", Key: "b", Value: "Mg==", Index: 0 } },
        { KV: { Verb: "get", Key: "a" } },
      ],
    ],
    ["PUT", "txn", [{ KV: { Verb: "get-tree", Key: "" } }, { KV: { Verb: "get-or-empty", Key: "none" } }]],
    [
      "PUT",
      "txn",
      [
        { KV: { Verb: "delete", Key: "a" } },
        { KV: { Verb: "check-not-exists", Key: "b" } },
        { KV: { Verb: "get", Key: "none" } },
      ],
    ],
    ["GET", "kv/a"],
    ["PUT", "txn", [{ KV: { Verb: "delete-tree", Key: "" } }]],
    [
      "PUT",
      "txn",
      [
        { Node: { Verb: "set", Node: { Node: "t", Address: "192.0.2.5" } } },
        { Service: { Verb: "set", Node: "t", Service: { Service: "s", Port: 1 } } },
        { Check: { Verb: "set", Check: { Node: "t", CheckID: "c", Name: "c", Status: "passing", ServiceID: "s" } } },
      ],
    ],
    ["PUT", "txn", [{ Service: { Verb: "cas", Node: "t", Service: { Service: "s", Port: 2, ModifyIndex: 1 } } }]],
    [
      "PUT",
      "txn",
      [
        { Check: { Verb: "delete", Check: { Node: "t", CheckID: "c" } } },
        { Service: { Verb: "get", Node: "t", Service: { ID: "s", Service: "s" } } },
      ],
    ],
    ["PUT", "txn", [{ KV: { Verb: "nope", Key: "a" } }]],
    ["PUT", "txn", [{}]],
    ["PUT", "txn", {}],
    ["PUT", "txn", Array.from({ length: 129 }, () => ({ KV: { Verb: "get", Key: "a" } }))],
  ]);
});

test("events, queries, coordinates, status and operator", async () => {
  await expectGolden("more", [
    ["PUT", "event/fire/deploy?node=n.*", "payload"],
    ["PUT", "event/fire/other"],
    ["PUT", "event/fire/elsewhere?node=^h2$"],
    ["PUT", "event/fire/consuls?service=^consul$"],
    ["PUT", "event/fire/tagged?service=^consul$&tag=v1"],
    ["PUT", "event/fire/bad?node=("],
    ["PUT", "event/fire/bad?tag=v1"],
    ["PUT", "event/fire/"],
    ["GET", "event/list"],
    ["GET", "event/list?name=deploy"],
    [
      "POST",
      "query",
      { Name: "near-shop", Service: { Service: "shop", Tags: ["v1", "!v2"], Near: "_agent" }, DNS: { TTL: "10s" } },
    ],
    ["POST", "query", { Name: "near-shop", Service: { Service: "shop" } }],
    [
      "POST",
      "query",
      {
        Name: "geo-",
        Template: { Type: "name_prefix_match", Regexp: "^geo-(.*)$" },
        Service: { Service: "${match(1)}" },
      },
    ],
    ["POST", "query", { Name: "bad", Service: {} }],
    ["GET", "query"],
    ["GET", "query/near-shop/execute"],
    ["GET", "query/geo-shop/execute?limit=1"],
    ["GET", "query/geo-shop/explain"],
    ["GET", "query/none/execute"],
    ["DELETE", "query/none"],
    [
      "PUT",
      "coordinate/update",
      { Node: "n1", Coord: { Vec: [0, 0, 0, 0, 0, 0, 0, 0.1], Error: 1, Adjustment: 0, Height: 0.001 } },
    ],
    ["PUT", "coordinate/update", { Node: "none", Coord: { Vec: [] } }],
    ["GET", "coordinate/nodes"],
    ["GET", "coordinate/node/n1"],
    ["GET", "coordinate/datacenters"],
    ["GET", "status/leader"],
    ["GET", "status/peers"],
    ["GET", "operator/raft/configuration"],
    ["GET", "operator/autopilot/health"],
    ["GET", "operator/autopilot/state"],
    ["GET", "operator/usage"],
    ["GET", "acl/token/self"],
    ["GET", "status/leader?pretty"],
    ["OPTIONS", "kv/a"],
  ]);
});

test("ACL objects", async () => {
  await expectGolden("acl", [
    ["PUT", "acl/bootstrap"],
    ["PUT", "acl/bootstrap"],
    ["PUT", "acl/policy", { Name: "ops", Description: "d", Rules: 'operator = "read"' }],
    ["PUT", "acl/policy", { Name: "ops", Rules: "" }],
    ["PUT", "acl/policy", { Name: "bad", Rules: 'key "a" { policy = "maybe" }' }],
    ["PUT", "acl/policy", { Name: "no spaces" }],
    ["GET", "acl/policies"],
    ["GET", "acl/policy/name/ops"],
    ["GET", "acl/policy/none"],
    ["PUT", "acl/role", { Name: "r", Policies: [{ Name: "ops" }], ServiceIdentities: [{ ServiceName: "web" }] }],
    ["GET", "acl/roles"],
    ["GET", "acl/role/name/r"],
    ["PUT", "acl/token", { Description: "t", Roles: [{ Name: "r" }], ExpirationTTL: "1h" }],
    ["PUT", "acl/token", { Policies: [{ Name: "none" }] }],
    ["GET", "acl/tokens"],
    ["GET", "acl/templated-policies"],
    ["GET", "acl/templated-policy/name/builtin/service"],
    ["GET", "acl/templated-policy/name/none"],
    ["POST", "acl/templated-policy/preview/builtin/service", { Name: "api" }],
    ["POST", "acl/templated-policy/preview/builtin/service", {}],
    ["POST", "acl/templated-policy/preview/builtin/node", { name: 'x" { policy = "write" }' }],
    ["POST", "acl/templated-policy/preview/builtin/dns"],
    [
      "PUT",
      "acl/token",
      { TemplatedPolicies: [{ TemplateName: "builtin/service", TemplateVariables: { Name: "api" } }] },
    ],
    ["PUT", "acl/token", { TemplatedPolicies: [{ TemplateName: "builtin/none" }] }],
    ["PUT", "acl/role", { Name: "dns", TemplatedPolicies: [{ TemplateName: "builtin/dns" }] }],
    ["GET", "acl/token/none"],
    ["GET", "acl/token/self"],
    ["GET", "acl/replication"],
    ["POST", "acl/login", { AuthMethod: "m", BearerToken: "b" }],
    ["POST", "acl/login", { AuthMethod: "m" }],
    ["POST", "acl/logout"],
    ["POST", "acl/logout?token=none"],
  ]);
});
