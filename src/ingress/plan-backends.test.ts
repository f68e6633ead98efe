import { expect, test } from "bun:test";
import fc from "fast-check";
import { endpointFixture as endpoint } from "./endpoint.fixture.ts";
import { planBackends, serverName } from "./plan-backends.ts";
import { planRoutes } from "./plan-routes.ts";

const plan = (endpoints: Parameters<typeof planBackends>[1]): ReturnType<typeof planBackends> =>
  planBackends(planRoutes(endpoints, { ingressDomain: "example.com" }).routes, endpoints);

test("planBackends() has only passing endpoints as servers, and the backend without any", () => {
  const endpoints = [
    endpoint({ container: "a", address: "10.2.1.2" }),
    endpoint({ container: "b", address: "10.2.1.3", health: "critical" }),
    endpoint({ container: "c", address: "10.2.1.4", health: "warning" }),
    endpoint({ service: "sick", health: "critical" }),
  ];
  const [sick, web] = plan(endpoints);
  expect(sick).toEqual({ name: "svc_sick", service: endpoint({ service: "sick" }).service, servers: [] });
  expect(web?.servers.map((server) => server.address)).toEqual(["10.2.1.2"]);
});

test("planBackends() has two instances on one host and port as two servers", () => {
  const endpoints = [
    endpoint({ container: "a", address: "10.2.1.2" }),
    endpoint({ container: "b", address: "10.2.1.3" }),
  ];
  expect(plan(endpoints)[0]?.servers).toHaveLength(2);
});

test("serverName() differs when an endpoint changes its address, so that the old one can drain", () => {
  const before = endpoint({ container: "a", address: "10.2.1.2" });
  expect(serverName({ ...before, address: endpoint({ address: "10.2.1.9" }).address })).not.toBe(serverName(before));
});

test("serverName() is safe in HAProxy's file and socket, and unique, for any container name", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1, maxLength: 90 }), { maxLength: 20 }), (containers) => {
      const result = containers.map((container) => serverName(endpoint({ container })));
      for (const name of result) expect(name).toMatch(/^[A-Za-z0-9_.-]{1,80}$/);
      expect(new Set(result).size).toBe(containers.length);
    }),
  );
});
