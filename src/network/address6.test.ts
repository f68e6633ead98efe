import { expect, test } from "bun:test";
import fc from "fast-check";
import { cidrContains, formatIpv4, parseCidr, parseIpv4 } from "../model/ip.ts";
import { cidr6Contains, cidrs6Overlap, formatCidr6, parseCidr6 } from "../model/ip6.ts";
import {
  address6Of,
  engineRange6,
  gateway6Of,
  host6Of,
  isOurLinkLocal,
  linkLocalOf,
  makeRange6,
  parseRange6,
} from "./address6.ts";
import { gatewayOf } from "./blocks.ts";

const RANGE6 = "fd12:3456:789a::/64";

test("a host's prefix follows from its first block, addresses in it from IPv4 ones", () => {
  const host6 = host6Of(RANGE6, gatewayOf(["10.2.1.0/24", "10.2.9.0/26"]));
  expect(formatCidr6(host6)).toBe("fd12:3456:789a:0:a02:100::/96");
  expect(address6Of(host6, parseIpv4("10.2.9.7")) as string).toBe("fd12:3456:789a:0:a02:100:a02:907");
  expect(gateway6Of(RANGE6, gatewayOf(["10.2.1.0/24"])) as string).toBe("fd12:3456:789a:0:a02:100:a02:101");
  expect(engineRange6(host6)).toBe("fd12:3456:789a:0:a02:100::/112");
  expect(linkLocalOf(parseIpv4("192.0.2.1")) as string).toBe("fe80::6170:0:c000:201");
});

test("two hosts never share a prefix, and no derived address lies in the engine's part", () => {
  const block = fc.nat(0xff_ff).map((index) => `${formatIpv4(0x0a_00_00_00 + index * 256)}/24`);
  const inside = fc.nat(0xff_ff_ff).map((offset) => formatIpv4(0x0a_00_00_00 + offset));
  fc.assert(
    fc.property(block, block, inside, (a, b, address) => {
      const [x, y] = [host6Of(RANGE6, gatewayOf([a])), host6Of(RANGE6, gatewayOf([b]))];
      expect(cidrs6Overlap(x, y)).toBe(a === b);
      expect(cidr6Contains(parseCidr6(RANGE6), address6Of(x, address))).toBe(true);
      expect(cidr6Contains(x, address6Of(x, address))).toBe(true);
      expect(cidr6Contains(parseCidr6(engineRange6(x)), address6Of(x, address))).toBe(false);
      expect(cidrContains(parseCidr("10.0.0.0/8"), address)).toBe(true);
    }),
  );
});

test("makeRange6() gives a /64 below fd00::/8 that parseRange6() takes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 5, maxLength: 5 }), (random) => {
      const range = makeRange6(random);
      expect(parseRange6(range)).toBe(range);
      expect(cidrs6Overlap(parseCidr6("fd00::/8"), parseCidr6(range))).toBe(true);
    }),
  );
});

test.each(["fd00::/48", "fe80::/64", "ff00::/64", "::/64"])("parseRange6(%s) refuses it", (text) => {
  expect(() => parseRange6(text)).toThrow("Cannot use IPv6 range");
});

test("isOurLinkLocal() knows ours from those of a MAC", () => {
  expect(isOurLinkLocal(linkLocalOf(parseIpv4("10.0.0.1")))).toBe(true);
  expect(isOurLinkLocal("fe80::5054:ff:fe12:3456" as ReturnType<typeof linkLocalOf>)).toBe(false);
});
