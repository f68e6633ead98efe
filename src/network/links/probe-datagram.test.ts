import { expect, test } from "bun:test";
import fc from "fast-check";
import type { HostId } from "../../model/ids.ts";
import { nodeMac } from "../../platform/digest/node-mac.ts";
import type { ProbeDatagram } from "./probe-datagram.ts";
import { hostTag, parseProbe, PROBE_BYTES_MAX, PROBE_BYTES_MIN, renderProbe } from "./probe-datagram.ts";

const mac = nodeMac(new Uint8Array(32).fill(1));
const tag = fc.string({ minLength: 1, maxLength: 40 }).map((id) => hostTag(id as HostId));
const datagram: fc.Arbitrary<ProbeDatagram> = fc.record({
  kind: fc.constantFrom("probe", "echo", "relay-probe", "relay-echo"),
  sender: tag,
  origin: tag,
  target: tag,
  session: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  sequence: fc.nat({ max: 0xffffffff }),
  token: fc.nat({ max: 0xffffffff }),
  detail: fc.nat({ max: 0xffff }),
  bytes: fc.integer({ min: PROBE_BYTES_MIN, max: PROBE_BYTES_MAX }),
});

test("parseProbe() gives what renderProbe() was given, at the size that was asked for", () => {
  fc.assert(
    fc.property(datagram, (sent) => {
      const bytes = renderProbe(sent, mac);
      expect(bytes.length).toBe(sent.bytes);
      expect(parseProbe(bytes, mac)).toEqual(sent);
    }),
    { numRuns: 200 },
  );
});

test("parseProbe() takes any bytes, and none of them for a datagram", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(["malformed", "foreign"]).toContain(parseProbe(bytes, mac) as string);
    }),
    { numRuns: 500 },
  );
  expect(parseProbe(new Uint8Array(PROBE_BYTES_MAX + 1), mac)).toBe("oversized");
});

test("one changed bit anywhere but in the padding, another key or another length: not a datagram of ours", () => {
  fc.assert(
    fc.property(datagram, fc.nat({ max: PROBE_BYTES_MIN * 8 - 1 }), (sent, bit) => {
      const bytes = renderProbe(sent, mac);
      expect(parseProbe(bytes, nodeMac(new Uint8Array(32).fill(2)))).toBe("foreign");
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      expect(["malformed", "oversized"]).toContain(parseProbe(longer, mac) as string);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(["malformed", "foreign"]).toContain(parseProbe(bytes, mac) as string);
    }),
    { numRuns: 200 },
  );
});
