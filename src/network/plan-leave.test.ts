import { expect, test } from "bun:test";
import type { Ipv4 } from "../model/ip.ts";
import type { NetworkState } from "../platform/ports/host-network.ts";
import { planLeave } from "./plan-leave.ts";

const LINK = { index: 1, up: true, mtu: 1500, mac: "02:00:00:00:00:01", addresses: [], vxlan: null };
const ROUTE = { via: "10.0.0.2" as Ipv4, source: null, mtu: null, onlink: false };
const NOTHING: NetworkState = {
  links: [],
  routes: [],
  tunnelPeers: [],
  wireguard: null,
  wireguardSupport: null,
  sysctls: {},
  rulesetDigest: null,
  rangeAllowed: false,
};

test("planLeave() deletes what is ours and nothing else", () => {
  const observed: NetworkState = {
    ...NOTHING,
    links: [
      { ...LINK, name: "apollo0", kind: "bridge" },
      { ...LINK, name: "apollo-vx0", kind: "vxlan" },
      { ...LINK, name: "eth0", kind: "other" },
      { ...LINK, name: "docker0", kind: "bridge" },
    ],
    routes: [
      { ...ROUTE, destination: "10.2.1.0/24", device: "eth0", marked: true },
      { ...ROUTE, destination: "10.2.2.0/24", device: "apollo-vx0", marked: true },
      { ...ROUTE, destination: "10.9.0.0/16", device: "eth0", marked: false },
    ],
    rulesetDigest: "altered",
    rangeAllowed: true,
  };
  expect(planLeave({ range: "10.2.0.0/16" }, observed)).toEqual([
    { kind: "delete-route", destination: "10.2.1.0/24", device: "eth0" },
    { kind: "delete-link", name: "apollo-vx0" },
    { kind: "delete-link", name: "apollo0" },
    { kind: "remove-allow-range", range: "10.2.0.0/16" },
    { kind: "delete-ruleset" },
  ]);
});

test("planLeave() leaves a device of another kind that has our name, and has nothing to do where nothing is", () => {
  expect(planLeave({ range: null }, NOTHING)).toEqual([]);
  expect(planLeave({ range: null }, { ...NOTHING, links: [{ ...LINK, name: "apollo0", kind: "other" }] })).toEqual([]);
});
