import { expect, test } from "bun:test";
import type { Container } from "../model/container.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseContainer } from "../platform/docker/parse-container.ts";
import { choosePids, choosePlugs, planPorts } from "./plan-ports.ts";

const on = (id: string, pid: number | null, network = "apollo"): Container => ({
  ...parseContainer({ Id: id }),
  pid,
  addresses: { [network]: parseIpv4("10.2.1.5") },
  macs: { [network]: "02:42:0A:02:01:05" },
});
const port = (index: number, farIndex: number) => ({ device: `veth${index}`, index, farIndex });

test("planPorts() joins both ends of a wire by the index of the far one", () => {
  const found = planPorts("apollo", {
    bridgePorts: [port(9, 8), port(7, 6)],
    containers: [on("a", 100), on("b", 200), on("elsewhere", 300, "other"), on("stopped", null)],
    indexes: new Map([
      [100, [1, 6]],
      [200, [1, 8]],
      [300, [1, 8]],
    ]),
  });
  const common = { network: "apollo", mac: "02:42:0a:02:01:05", addresses: [parseIpv4("10.2.1.5")] };
  expect(found).toEqual([
    { ...common, device: "veth7", index: 7, container: "a" },
    { ...common, device: "veth9", index: 9, container: "b" },
  ]);
});

test("planPorts() says that packets end in a container only where nobody in its namespace could forward them", () => {
  const endOf = (...containers: readonly Container[]): boolean | undefined =>
    planPorts("apollo", { bridgePorts: [port(7, 6)], containers, indexes: new Map([[100, [6]]]) })[0]?.ends;
  const web = on("a", 100);
  const beside = { ...on("b", 300, "none"), networkOf: "a" };
  expect(endOf(web)).toBeUndefined();
  expect(endOf({ ...web, netAdmin: true })).toBeUndefined();
  expect(endOf({ ...web, netAdmin: false })).toBe(true);
  expect(endOf({ ...web, netAdmin: false }, { ...beside, netAdmin: false })).toBe(true);
  expect(endOf({ ...web, netAdmin: false }, { ...beside, netAdmin: true })).toBeUndefined();
  expect(endOf({ ...web, netAdmin: false }, beside)).toBeUndefined();
});

test("planPorts() leaves out what it cannot tell: two that fit, none that fits, a MAC that nobody knows", () => {
  const indexes = new Map([
    [100, [1, 6]],
    [200, [1, 6]],
  ]);
  const bridgePorts = [port(7, 6), port(9, 8)];
  expect(planPorts("apollo", { bridgePorts, containers: [on("a", 100), on("b", 200)], indexes })).toEqual([]);
  expect(planPorts("apollo", { bridgePorts, containers: [{ ...on("a", 100), macs: {} }], indexes })).toEqual([]);
  expect(planPorts("apollo", { bridgePorts, containers: [on("a", 999)], indexes })).toEqual([]);
});

test("choosePids() asks only for what runs on the network", () => {
  expect(choosePids("apollo", [on("a", 100), on("b", null), on("c", 300, "other")])).toEqual([100]);
});

test("choosePlugs() gives a container its own wire of this network back, and nobody else's with the same index", () => {
  const mac = "02:42:0a:02:01:05";
  const containers = [on("a", 100), on("stopped", null)];
  const loose = [
    { device: "eth0", index: 2, farIndex: 6 },
    { device: "veth7", index: 7, farIndex: 6 },
    { device: "veth9", index: 9, farIndex: 8 },
  ];
  const far = [
    { index: 6, nearIndex: 7, mac },
    { index: 8, nearIndex: 9, mac: "02:42:ac:11:00:02" },
  ];
  expect(choosePlugs("apollo", { containers, loose, farPorts: new Map([[100, far]]) })).toEqual(["veth7"]);
  expect(choosePlugs("other", { containers, loose, farPorts: new Map([[100, far]]) })).toEqual([]);
  expect(choosePlugs("apollo", { containers, loose, farPorts: new Map() })).toEqual([]);
});
