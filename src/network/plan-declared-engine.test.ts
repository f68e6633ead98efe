import { expect, test } from "bun:test";
import type { EngineNetwork } from "../platform/ports/engine.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { OPTION_MADE, planDeclaredEngine } from "./plan-declared-engine.ts";

const BLUE: DeclaredNetwork = {
  name: "blue",
  layer2: false,
  range: "10.50.0.0/16",
  policy: "open",
  internal: false,
  vni: 1000,
};

/** As the engine has it after it was asked for. */
function made(network: DeclaredNetwork, change: Partial<EngineNetwork> = {}): EngineNetwork {
  const [spec] = planDeclaredEngine([network], []).create;
  if (spec === undefined) throw new Error("Expected a network to make");
  return { ...spec, id: "n1", driver: spec.driver ?? "bridge", ipRange: null, containers: {}, ...change };
}

test("an engine network of our driver is made, recognized, and taken away when its network goes", () => {
  expect(planDeclaredEngine([BLUE], []).create).toMatchObject([
    {
      name: "blue",
      driver: "apollo",
      subnet: "10.50.0.0/16",
      gateway: "10.50.0.1",
      options: { "apollo.network": "blue" },
    },
  ]);
  expect(planDeclaredEngine([BLUE], [made(BLUE)])).toEqual({
    create: [],
    remove: [],
    usable: ["blue"],
    conditions: [],
  });
  expect(planDeclaredEngine([], [made(BLUE)]).remove).toEqual(["blue"]);
});

test("one that was made for another range is made anew; a user's is left alone, and told unless it stands for the network", () => {
  const old = made({ ...BLUE, range: "10.60.0.0/16" });
  expect(planDeclaredEngine([BLUE], [old])).toMatchObject({ remove: ["blue"], usable: [] });
  const busy = { ...old, containers: { c1: parseIpv4("10.60.1.2") } };
  expect(planDeclaredEngine([BLUE], [busy])).toMatchObject({
    remove: [],
    conditions: [{ code: "engine-network-taken" }],
  });
  const { [OPTION_MADE]: _, ...options } = made(BLUE).options;
  expect(planDeclaredEngine([BLUE], [{ ...made(BLUE), options }])).toMatchObject({ usable: ["blue"], conditions: [] });
  const foreign = { ...made(BLUE), driver: "bridge", options: {} };
  expect(planDeclaredEngine([BLUE], [foreign])).toMatchObject({
    usable: [],
    conditions: [{ code: "engine-network-taken" }],
  });
  expect(planDeclaredEngine([], [foreign]).remove).toEqual([]);
});
