import { expect, test } from "bun:test";
import type { Endpoint } from "../model/endpoint.ts";
import { endpointFixture as endpoint } from "./endpoint.fixture.ts";
import { planRoutes } from "./plan-routes.ts";

const SETTINGS = { ingressDomain: "example.com" };
const names = (endpoints: readonly Endpoint[]): readonly string[] =>
  planRoutes(endpoints, SETTINGS).routes.map((route) => `${route.hostname} → ${route.service}`);

test("planRoutes() gives each service its own name under the domain, once", () => {
  const endpoints = [
    endpoint({ service: "web", container: "b" }),
    endpoint({ service: "api", container: "a" }),
    endpoint({ service: "web", container: "c" }),
  ];
  expect(names(endpoints)).toEqual(["api.example.com → api", "web.example.com → web"]);
});

test("planRoutes() keeps the name of a service without a passing endpoint", () => {
  expect(names([endpoint({ service: "web", health: "critical" })])).toEqual(["web.example.com → web"]);
});

test("planRoutes() leaves out UDP, opted-out endpoints and services that no container provides", () => {
  const endpoints = [
    endpoint({ service: "dns", protocol: "udp" }),
    endpoint({ service: "db", meta: { ingress_enable: "false" } }),
    endpoint({ service: "cache", meta: { "ingress.enable": "No" } }),
    endpoint({ service: "apollo", container: "" }),
    endpoint({ service: "web", meta: { "ingress.enable": "true" } }),
  ];
  expect(names(endpoints)).toEqual(["web.example.com → web"]);
});

test("planRoutes() adds the names that endpoints ask for, folded to lower case", () => {
  const meta = { ingress_host: "Shop.Test, www.shop.test" };
  expect(names([endpoint({ service: "web", meta })])).toEqual([
    "shop.test → web",
    "web.example.com → web",
    "www.shop.test → web",
  ]);
});

test("planRoutes() gives a contested name to its natural owner, then to the first by alphabet, and says so", () => {
  const endpoints = [
    endpoint({ service: "b", meta: { "ingress.host": "shop.test,a.example.com" } }),
    endpoint({ service: "a", meta: { "ingress.host": "shop.test" } }),
  ];
  const plan = planRoutes(endpoints, SETTINGS);
  expect(plan.routes.map((route) => `${route.hostname} → ${route.service}`)).toEqual([
    "a.example.com → a",
    "b.example.com → b",
    "shop.test → a",
  ]);
  expect(plan.problems).toEqual([
    "Service b asks for the outside name a.example.com, which leads to service a",
    "Service b asks for the outside name shop.test, which leads to service a",
  ]);
});

test("planRoutes() refuses what is not a host name: it would be a line of the map", () => {
  const plan = planRoutes([endpoint({ service: "a", meta: { "ingress.host": "x y,a\nb c,*.test,-.test" } })], SETTINGS);
  expect(plan.routes.map((route) => route.hostname)).toEqual(["a.example.com"]);
  expect(plan.problems).toHaveLength(4);
});
