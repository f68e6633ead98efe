import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { endpointFixture as endpoint } from "./endpoint.fixture.ts";
import { desiredProxy } from "./plan-proxy.ts";
import { defaultProxySettings } from "./proxy-settings.ts";

const SETTINGS = defaultProxySettings(proxyPaths("/run/apollo/ingress"));
const CLUSTER = { ingressDomain: "example.com" };
const ENDPOINTS = [
  endpoint({ service: "nodejs-rest-api", container: "v1-b", address: "10.2.5.2", host: "host-2" }),
  endpoint({ service: "nodejs-rest-api", container: "v1-a", address: "10.2.4.2" }),
  endpoint({ service: "nodejs-rest-api", container: "v1-c", address: "10.2.4.3", health: "critical" }),
  endpoint({
    service: "shop",
    container: "shop",
    address: "10.2.4.9",
    port: 80,
    meta: { "ingress.host": "shop.test" },
  }),
  endpoint({ service: "sick", container: "sick", address: "10.2.4.8", health: "critical" }),
];

/** Input and output in one file; UPDATE_GOLDEN=1 writes it anew. */
function expectGolden(name: string, input: unknown, output: string): void {
  const file = new URL(`../../test/golden/${name}`, import.meta.url).pathname;
  const text = `${JSON.stringify(input, null, 1)}\n----------\n${output}`;
  if (process.env["UPDATE_GOLDEN"] === "1" || !existsSync(file)) writeFileSync(file, text);
  expect(readFileSync(file, "utf8")).toBe(text);
}

test("renderHaproxy() of three services is the golden file", () => {
  const desired = desiredProxy(ENDPOINTS, CLUSTER, SETTINGS);
  const input = ENDPOINTS.map(({ service, address, port, health, meta }) => ({ service, address, port, health, meta }));
  expectGolden(
    "haproxy-three-services.txt",
    input,
    `${desired.text}----------\n${JSON.stringify(desired.map, null, 1)}\n`,
  );
});

test("renderHaproxy() of an empty cluster is the golden file", () => {
  expectGolden("haproxy-empty.txt", [], desiredProxy([], CLUSTER, SETTINGS).text);
});

test("renderHaproxy() does not depend on the order of its input", () => {
  const forward = desiredProxy(ENDPOINTS, CLUSTER, SETTINGS);
  expect(desiredProxy(ENDPOINTS.toReversed(), CLUSTER, SETTINGS)).toEqual(forward);
});

test("desiredProxy() keeps its structure when servers or services change, not when settings do", () => {
  const { structure } = desiredProxy(ENDPOINTS, CLUSTER, SETTINGS);
  expect(desiredProxy([], CLUSTER, SETTINGS).structure).toBe(structure);
  expect(desiredProxy(ENDPOINTS, CLUSTER, { ...SETTINGS, httpBind: "*:8080" }).structure).not.toBe(structure);
});
