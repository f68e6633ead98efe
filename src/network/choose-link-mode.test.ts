import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import type { Encryption } from "../model/cluster.ts";
import type { HostId } from "../model/ids.ts";
import type { LinkFacts, LinkMode } from "./choose-link-mode.ts";
import { NO_FACTS, chooseLinkMode, chooseLinkModes } from "./choose-link-mode.ts";
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

test("over an IPv6 underlay tunnels are 20 bytes narrower, and trust is a matter of its own ranges", () => {
  const [here, there] = [parseIpv6("fd00:1::1"), parseIpv6("fd00:1::2")];
  const six = { device: "eth0", via: null, source: here, mtu: 1500 };
  expect(chooseLinkMode(there, six, RANGE)).toMatchObject({ mode: "direct", mtu: 1500 });
  const routed = { ...six, via: parseIpv6("fe80::1") };
  expect(chooseLinkMode(there, routed, RANGE)).toMatchObject({ mode: "vxlan", mtu: 1430 });
  const modes = (ranges: readonly string[]): LinkMode =>
    chooseLinkMode(there, six, RANGE, { policy: { encryption: "auto", trustedRanges: ranges } });
  expect(modes(["10.0.0.0/8", "fc00::/7"])).toMatchObject({ mode: "direct" });
  expect(modes(["0.0.0.0/0"])).toMatchObject({ mode: "wireguard", mtu: 1420 });
  expect(chooseLinkMode(peer, path, RANGE, { policy: { encryption: "auto", trustedRanges: ["::/0"] } })).toMatchObject({
    mode: "wireguard",
    mtu: 1440,
  });
});

test("tunnelMac() follows from the gateway and is a locally administered unicast address", () => {
  expect(tunnelMac(parseIpv4("10.2.255.1"))).toBe("0a:70:0a:02:ff:01");
});

const trustedRanges = ["192.0.2.0/24"];
const facts = { ...NO_FACTS, cause: "direct packets do not pass" };

test("chooseLinkModes() encrypts where policy asks for it, and never offers a plain mode there", () => {
  const modes = (encryption: Encryption, to = peer): readonly string[] => {
    const choice = chooseLinkModes(to, path, RANGE, { encryption, trustedRanges });
    return choice.kind === "modes" ? choice.modes : [];
  };
  expect(modes("auto")).toEqual(["direct", "vxlan"]);
  expect(modes("auto", parseIpv4("198.51.100.2"))).toEqual(["wireguard"]);
  expect(modes("off", parseIpv4("198.51.100.2"))).toEqual(["direct", "vxlan"]);
  expect(modes("required")).toEqual(["wireguard"]);
});

test("chooseLinkMode() follows what was measured: skipped modes, the path's MTU, a relay", () => {
  const policy = { encryption: "auto", trustedRanges } as const;
  const choose = (more: Partial<LinkFacts>): LinkMode =>
    chooseLinkMode(peer, path, RANGE, { policy, facts: { ...facts, ...more } });
  expect(choose({})).toMatchObject({ mode: "direct", mtu: 1500, why: "192.0.2.2 is on the same network, at eth0" });
  expect(choose({ skip: 1 })).toMatchObject({ mode: "vxlan", mtu: 1450, why: "direct packets do not pass" });
  expect(choose({ skip: 9, pathMtu: 1400 })).toMatchObject({ mode: "vxlan", mtu: 1350 });
  expect(choose({ pathMtu: 1400 }).why).toContain("; the path carries 1400 bytes of 1500");
  // The device became narrower since it was measured.
  expect(choose({ pathMtu: 9000 })).toMatchObject({ mtu: 1500 });
  const relay = { via: "h3" as HostId, mtu: 1450 };
  expect(choose({ relay })).toEqual({ mode: "relay", why: "direct packets do not pass", ...relay, encrypted: false });
  expect(chooseLinkMode(peer, null, RANGE, { policy, facts: { ...facts, relay } })).toMatchObject({ mode: "relay" });
  const required = { policy: { ...policy, encryption: "required" } as const, facts: { ...facts, relay } };
  expect(chooseLinkMode(peer, path, RANGE, required)).toMatchObject({ mode: "relay", encrypted: true });
  const wireguard = chooseLinkMode(peer, path, RANGE, { ...required, facts: { ...facts, pathMtu: 1400 } });
  expect(wireguard).toMatchObject({
    mode: "wireguard",
    mtu: 1340,
    why: expect.stringContaining("encryption is required"),
  });
});
