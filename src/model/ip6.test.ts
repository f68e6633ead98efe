import { expect, test } from "bun:test";
import fc from "fast-check";
import { isIPv6 } from "node:net";
import { AppError } from "./error.ts";
import {
  cidr6Contains,
  cidrs6Overlap,
  formatCidr6,
  formatIpv6,
  ipv6ToNumber,
  isIpv6,
  parseCidr6,
  parseHostAddress,
  parseIpv6,
} from "./ip6.ts";

const number128 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n });
/** Many zero groups, where the short form has its rules. */
const sparse = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xff_ff })), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n));

test.each([
  ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["::", "::"],
  ["1::", "1::"],
  ["::ffff:10.2.1.7", "::ffff:a02:107"],
  ["fd00::10.2.1.7", "fd00::a02:107"],
  ["0:0:0:0:0:0:0:0", "::"],
])("parseIpv6(%s) gives %s, as RFC 5952 has it", (text, want) => {
  expect(parseIpv6(text) as string).toBe(want);
});

test.each(["", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8", "fe80::1%eth0", "g::"])(
  'parseIpv6("%s") refuses it',
  (text) => {
    expect(() => parseIpv6(text)).toThrow(AppError);
  },
);

test("formatIpv6() and parseIpv6() are inverse, and the form is the only one that isIpv6() takes", () => {
  fc.assert(
    fc.property(fc.oneof(number128, sparse), (value) => {
      const text = formatIpv6(value);
      expect(ipv6ToNumber(parseIpv6(text))).toBe(value);
      expect(isIpv6(text)).toBe(true);
      expect(isIPv6(text)).toBe(true);
      expect(text).not.toMatch(/[A-F]|:::|(^|:)0[0-9a-f]/);
      const full = Array.from({ length: 8 }, (_, at) => ((value >> BigInt(16 * (7 - at))) & 0xffffn).toString(16));
      expect(parseIpv6(full.join(":"))).toBe(text);
      if (full.join(":") !== text) expect(isIpv6(full.join(":"))).toBe(false);
    }),
  );
});

test("parseIpv6() and parseHostAddress() give a value or an AppError for any text", () => {
  const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom("0", "1", "9", "a", "f", ":", ":", ".") }));
  fc.assert(
    fc.property(text, (input) => {
      for (const parse of [parseIpv6, parseHostAddress, parseCidr6]) {
        try {
          parse(input);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }
      // Node's own judgement, without the zones that we do not take.
      expect(safely(() => parseIpv6(input)) !== null).toBe(isIPv6(input) && !input.includes("%"));
    }),
    { numRuns: 500 },
  );
});

test("parseCidr6() refuses bits after the prefix and says what to write", () => {
  expect(formatCidr6(parseCidr6("FD00:1::/64"))).toBe("fd00:1::/64");
  expect(() => parseCidr6("fd00::1/64")).toThrow("bits after the prefix");
  expect(() => parseCidr6("fd00::/129")).toThrow("must look like");
});

test("cidr6Contains() and cidrs6Overlap() agree with arithmetic", () => {
  fc.assert(
    fc.property(number128, number128, fc.nat(128), fc.nat(128), (a, b, p, q) => {
      const range = (value: bigint, prefix: number) => {
        const host = BigInt(128 - prefix);
        return { first: (value >> host) << host, prefix, last: ((value >> host) << host) + (1n << host) - 1n };
      };
      const [x, y] = [range(a, p), range(b, q)];
      expect(cidr6Contains(x, formatIpv6(b))).toBe(b >= x.first && b <= x.last);
      expect(cidrs6Overlap(x, y)).toBe(x.first <= y.last && y.first <= x.last);
    }),
  );
});

function safely<T>(body: () => T): T | null {
  try {
    return body();
  } catch {
    return null;
  }
}
