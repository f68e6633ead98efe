import { expect, test } from "bun:test";
import { type Endpoint, META_NAME_ONLY, NAMES_SERVER } from "../model/endpoint.ts";
import type { ServiceName } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import { type ExplainInput, explainName } from "./explain-name.ts";
import { endpointOf } from "../model/endpoint.fixture.ts";

function endpoint(id: string, address: string, over: Partial<Endpoint> = {}): Endpoint {
  return endpointOf({ id, service: "web", address, port: 80, tags: ["v1"], ...over });
}

const INPUT: ExplainInput = {
  endpoints: [
    endpoint("h1:a:80", "10.2.1.7"),
    endpoint("h1:b:80", "10.2.1.8", { tags: ["v2"] }),
    endpoint("h1:c:80", "10.2.1.9", { health: "critical" }),
  ],
  withheld: [
    { endpoint: endpoint("h1:d:80", "10.2.1.10"), reason: "draining" },
    { endpoint: endpoint("h2:e:80", "10.2.2.7", { host: "h2" }), reason: "host-down" },
    { endpoint: endpoint("h2:f:80", "10.2.2.8", { host: "h2", service: "gone" as ServiceName }), reason: "host-down" },
  ],
  hosts: [{ name: "h1", address: parseIpv4("192.168.0.1"), up: true }],
  domain: "consul",
  datacenter: "dc1",
};

test("explainName() gives the answers and what is left out, with reasons", () => {
  const explained = explainName(INPUT, "v1.web.service.consul", "a");
  expect(explained.code).toBe("NOERROR");
  expect(explained.answers).toEqual([{ name: "v1.web.service.consul", type: "A", ttl: 0, data: "10.2.1.7" }]);
  expect(explained.excluded).toEqual([
    { endpoint: "h1:b:80", reason: "its tags are v2" },
    { endpoint: "h1:c:80", reason: "its health is critical" },
    { endpoint: "h1:d:80", reason: "its instance is draining" },
    { endpoint: "h2:e:80", reason: 'host "h2" is down' },
  ]);
});

const CODES: readonly (readonly [name: string, type: string, code: string, data: readonly string[]])[] = [
  ["web.service.consul", "SRV", "NOERROR", ["1 1 80 0a020107.addr.dc1.consul.", "1 1 80 0a020108.addr.dc1.consul."]],
  ["web.service.consul", "AAAA", "NOERROR", []],
  ["h1.node.consul", "A", "NOERROR", ["192.168.0.1"]],
  ["0a020107.addr.dc1.consul.", "A", "NOERROR", ["10.2.1.7"]],
  ["7.1.2.10.in-addr.arpa", "PTR", "NOERROR", ["web.service.dc1.consul."]],
  ["consul", "NS", "NOERROR", ["ns.consul."]],
  ["nobody.service.consul", "A", "NXDOMAIN", []],
  ["h9.node.consul", "A", "NXDOMAIN", []],
  ["..", "A", "NXDOMAIN", []],
  ["example.org", "A", "FORWARDED", []],
];

test("explainName() says what each kind of name is", () => {
  for (const [name, type, code, data] of CODES) {
    const explained = explainName(INPUT, name, type);
    expect([name, explained.code, explained.answers.map((each) => each.data)]).toEqual([name, code, [...data]]);
  }
});

test("explainName() explains a name that is gone by what is withheld", () => {
  const gone = explainName(INPUT, "gone.service.consul", "A");
  expect([gone.code, gone.excluded]).toEqual(["NXDOMAIN", [{ endpoint: "h2:f:80", reason: 'host "h2" is down' }]]);
  const tag = explainName(INPUT, "v9.web.service.consul", "A");
  expect([tag.code, tag.excluded.length]).toEqual(["NXDOMAIN", 5]);
});

test("explainName() knows a service's own address", () => {
  const input = { ...INPUT, virtuals: new Map([["web", ["10.3.0.7", "fd12::7"]]]) };
  expect(explainName(input, "web.virtual.consul", "A").answers.map(({ data }) => data)).toEqual(["10.3.0.7"]);
  expect(explainName(input, "web.virtual.consul", "AAAA").answers.map(({ data }) => data)).toEqual(["fd12::7"]);
  expect(explainName(input, "db.virtual.consul", "A").code).toBe("NXDOMAIN");
});

test("explainName() explains names of containers, with services or without", () => {
  const named = [endpoint("h1:name:db:10.2.1.20", "10.2.1.20", { service: "db" as ServiceName, port: 0 })];
  const input = { ...INPUT, endpoints: [endpoint("h1:box:80", "10.2.1.7", { container: "Box" })], named };
  const ask = (name: string, type = "A"): string => {
    const { code, answers } = explainName({ ...input, containerDomain: "weave.local" }, name, type);
    return [code, ...answers.map(({ data }) => data)].join(" ");
  };
  expect(ask("box.weave.local")).toBe("NOERROR 10.2.1.7");
  expect(ask("DB.weave.local")).toBe("NOERROR 10.2.1.20");
  expect(ask("db")).toBe("NOERROR 10.2.1.20");
  expect(ask("none.weave.local")).toBe("NXDOMAIN");
  expect([ask("weave.local"), ask("none"), ask("example.org")]).toEqual(["NOERROR", "FORWARDED", "FORWARDED"]);
  expect(ask("20.1.2.10.in-addr.arpa", "PTR")).toBe("NOERROR db.weave.local.");
});

test("explainName() gives TTL, weight and target as the hosts do", () => {
  const [host] = INPUT.hosts;
  if (host === undefined) throw new Error("Unexpected input without hosts");
  const place = { id: "heavy", host: host.name, address: host.address, port: 1, container: "c" };
  const heavy = endpointOf({ ...place, service: "heavy", health: "warning", weights: { passing: 7, warning: 2 } });
  const input = { ...INPUT, endpoints: [heavy], settings: { serviceTtlSeconds: { "h*": 5 } } };
  const [srv] = explainName(input, "heavy.service.consul", "SRV").answers;
  expect([srv?.ttl, srv?.data]).toEqual([5, `1 2 1 ${host.name}.node.dc1.consul.`]);
  const strict = { ...input, settings: { onlyPassing: true, criticalIsMissing: true } };
  expect(explainName(strict, "heavy.service.consul", "A").code).toBe("NXDOMAIN");
});

test("explainName() answers with the other family, and leads back from it", () => {
  const address6 = parseIpv6("fd12:3456:789a:0:a02:100:a02:107");
  const input = {
    ...INPUT,
    endpoints: [endpoint("h1:a:80", "10.2.1.7", { address6 })],
    containerDomain: "weave.local",
  };
  const ask = (name: string, type: string) => explainName(input, name, type).answers.map(({ data }) => data);
  for (const name of ["web.service.consul", "h1:a:80.weave.local"]) {
    expect([name, ask(name, "A"), ask(name, "AAAA")]).toEqual([name, ["10.2.1.7"], [address6]]);
  }
  const reverse = "7.0.1.0.2.0.a.0.0.0.1.0.2.0.a.0.0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa";
  expect(ask(reverse, "PTR")).toEqual(["web.service.dc1.consul."]);
});

test("explainName() follows prepared queries, by name and by template", () => {
  const service = {
    service: "web",
    onlyPassing: false,
    near: "",
    tags: ["v1"],
    nodeMeta: {},
    serviceMeta: {},
    ignoreCheckIds: [],
    nearestN: 0,
    datacenters: [],
  };
  const none = { type: "", regexp: "", removeEmptyTags: false };
  const template = { ...none, type: "name_prefix_match" };
  const queries = [
    { id: "1", name: "first", template: none, service, dnsTtl: "10s" },
    { id: "2", name: "any-", template, service: { ...service, service: "${name.suffix}", tags: [] }, dnsTtl: "" },
  ];
  const first = explainName({ ...INPUT, queries }, "first.query.consul", "A");
  expect(first.answers).toEqual([{ name: "first.query.consul", type: "A", ttl: 10, data: "10.2.1.7" }]);
  expect(first.excluded.slice(0, 2)).toEqual([
    { endpoint: "h1:b:80", reason: "the query's tags or meta are others" },
    { endpoint: "h1:c:80", reason: "its health is critical" },
  ]);
  const any = explainName({ ...INPUT, queries }, "any-web.query.consul", "SRV");
  expect(any.answers.map(({ data }) => data)).toEqual([
    "1 1 80 0a020107.addr.dc1.consul.",
    "1 1 80 0a020108.addr.dc1.consul.",
  ]);
  expect(explainName({ ...INPUT, queries }, "none.query.consul", "A").code).toBe("NXDOMAIN");
});

test("explainName() knows the servers by the service alone that they are instances of", () => {
  const server = {
    service: "consul" as ServiceName,
    port: 8300,
    container: "",
    meta: { [META_NAME_ONLY]: NAMES_SERVER },
  };
  const named = [endpoint("registry-server/h1", "192.168.0.1", { ...server, tags: [] })];
  const input = { ...INPUT, named, containerDomain: "weave.local" };
  const answers = (name: string, type: string): readonly string[] =>
    explainName(input, name, type).answers.map(({ data }) => data);
  expect(answers("consul.service.consul", "SRV")).toEqual(["1 1 8300 h1.node.dc1.consul."]);
  expect(explainName(input, "v1.consul.service.consul", "A").excluded).toEqual([
    { endpoint: "registry-server/h1", reason: "it has no tags" },
  ]);
  expect(answers("consul.weave.local", "A")).toEqual([]);
  expect(answers("1.0.168.192.in-addr.arpa", "PTR")).toEqual(["h1.node.dc1.consul."]);
});
