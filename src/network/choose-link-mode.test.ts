import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import { chooseLinkMode } from "./choose-link-mode.ts";
import { tunnelMac } from "./mac.ts";

const RANGE = "10.2.0.0/16";
const peer = parseIpv4("192.0.2.2");
const path = { device: "eth0", via: null, source: parseIpv4("192.0.2.1"), mtu: 1500 };

test("chooseLinkMode() goes direct without a router and through VXLAN, 50 bytes narrower, behind one", () => {
  expect(chooseLinkMode(peer, path, RANGE)).toMatchObject({ mode: "direct", mtu: 1500 });
  const routed = chooseLinkMode(peer, { ...path, via: parseIpv4("192.0.2.254"), mtu: 9000 }, RANGE);
  expect(routed).toMatchObject({ mode: "vxlan", mtu: 8950, why: "192.0.2.2 is behind the router 192.0.2.254" });
});

test("chooseLinkMode() says why there is no path", () => {
  const why = (address: string, over: typeof path | null): string =>
    chooseLinkMode(parseIpv4(address), over, RANGE).why;
  expect(why("192.0.2.2", null)).toBe("this host has no route to 192.0.2.2");
  expect(why("10.2.9.9", path)).toContain("inside the container range");
  expect(why("192.0.2.1", { ...path, device: "lo" })).toContain("of this host");
  expect(why("192.0.2.2", { ...path, mtu: 500 })).toContain("500 bytes only");
});

test("tunnelMac() follows from the gateway and is a locally administered unicast address", () => {
  expect(tunnelMac(parseIpv4("10.2.255.1"))).toBe("0a:70:0a:02:ff:01");
});
