import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { macOf } from "./boot-node.ts";
import { renderEngineConfig } from "./engine.ts";
import { parseCuts, renderFabricRules } from "./fabric.ts";
import { planLab } from "./lab-plan.ts";

const { nodes } = planLab("demo", 2);

test("renderFabricRules() marks each port and drops by mark", () => {
  const text = renderFabricRules(nodes);
  expect(text).toContain('meta mark set iifname map { "s1" : 1, "h1" : 2, "h2" : 3 }');
  expect(text).toContain("meta mark . oifname @cuts drop");
});

test("parseCuts() gives directions by name, sorted", () => {
  const elem = [{ concat: [3, "h1"] }, { concat: [2, "h2"] }, { concat: [77, "h2"] }];
  const text = JSON.stringify({ nftables: [{ metainfo: {} }, { set: { name: "cuts", elem } }] });
  expect(parseCuts(text, nodes)).toEqual(["77>h2", "h1>h2", "h2>h1"]);
  expect(parseCuts('{"nftables":[{"set":{"name":"cuts"}}]}', nodes)).toEqual([]);
  expect(() => parseCuts("nope", nodes)).toThrow(AppError);
});

test("macOf() makes an address that belongs to no vendor and comes from the node's own", () => {
  expect(nodes.map((node) => macOf(node.address))).toEqual([
    "02:00:0a:4d:01:02",
    "02:00:0a:4d:01:0b",
    "02:00:0a:4d:01:0c",
  ]);
});

test("renderEngineConfig() keeps hosts apart and lets extra settings win", () => {
  const config = JSON.parse(renderEngineConfig("demo", "h1", { bridge: "apollo0", "cgroup-parent": "/x" })) as Record<
    string,
    unknown
  >;
  expect(config.bridge).toBe("apollo0");
  expect(config["cgroup-parent"]).toBe("/x");
  expect(config["insecure-registries"]).toEqual(["registry.lab:5000"]);
});
