import { expect, test } from "bun:test";
import type { AppSpec, PortSpec } from "../model/app.ts";
import { assignServicePorts, SERVICE_PORT_END, SERVICE_PORT_MIN } from "./assign-service-ports.ts";

const port = (servicePort: number): PortSpec => ({
  containerPort: 8080,
  hostPort: null,
  servicePort,
  protocol: "tcp",
  name: null,
  labels: {},
});
const withPorts = (...ports: number[]): AppSpec => ({ ports: ports.map(port) }) as unknown as AppSpec;
const portsOf = (spec: AppSpec): number[] => spec.ports.map((each) => each.servicePort);

test("assignServicePorts() gives the lowest free numbers and keeps chosen ones", () => {
  expect(portsOf(assignServicePorts(withPorts(0, 10_001, 0), null, new Set([10_000])))).toEqual([
    10_002, 10_001, 10_003,
  ]);
});

test("assignServicePorts() keeps the number of the same index over an update", () => {
  expect(portsOf(assignServicePorts(withPorts(0, 0), withPorts(10_007), new Set([10_007])))).toEqual([10_007, 10_000]);
});

test("assignServicePorts() says when the range is used up", () => {
  const all = new Set(
    Array.from({ length: SERVICE_PORT_END - SERVICE_PORT_MIN }, (_, index) => SERVICE_PORT_MIN + index),
  );
  expect(() => assignServicePorts(withPorts(0), null, all)).toThrow("already in use");
});
