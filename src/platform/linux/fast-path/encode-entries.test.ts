import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../../model/error.ts";
import { formatCidr, formatIpv4, parseIpv4 } from "../../../model/ip.ts";
import type { FastPathEntry } from "../../ports/fast-path.ts";
import {
  COUNTER_BYTES,
  ENTRY_SIZES,
  decodeAddress,
  decodeCounters,
  decodeEntry,
  decodeNumber,
  encodeEntry,
} from "./encode-entries.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("encodeEntry() writes what the programs read: numbers in host order, addresses in network order", () => {
  const address = parseIpv4("10.2.1.5");
  const source = encodeEntry({ map: "sources", ifindex: 7, address, mac: "02:42:0a:02:01:05", slow: true });
  expect([hex(source.key), hex(source.value)]).toEqual(["070000000a020105", "02420a0201050100"]);
  const route = encodeEntry({
    map: "routes",
    destination: "10.2.2.0/24",
    kind: "tunnel",
    ifindex: 5,
    nextHop: parseIpv4("10.2.2.1"),
    mtu: 1450,
    peer: parseIpv4("192.0.2.2"),
    local: parseIpv4("192.0.2.1"),
  });
  expect(hex(route.key)).toBe("180000000a020200");
  expect(hex(route.value)).toBe("0200000005000000" + "0a020201" + "aa050000" + "c0000202" + "c0000201");
});

const number = fc.integer({ min: 0, max: 0xffffffff });
const address = number.map(formatIpv4);
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":"));
const destination = fc.tuple(number, fc.integer({ min: 0, max: 32 })).map(([value, prefix]) => {
  const size = 2 ** (32 - prefix);
  return formatCidr({ first: value - (value % size), prefix });
});
const entry: fc.Arbitrary<FastPathEntry> = fc.oneof(
  fc.record({ map: fc.constant("sources" as const), ifindex: number, address, mac, slow: fc.boolean() }),
  fc.record({
    map: fc.constant("endpoints" as const),
    address,
    ifindex: number,
    mac,
    gatewayMac: mac,
    slow: fc.boolean(),
    ends: fc.boolean(),
  }),
  fc.record({
    map: fc.constant("routes" as const),
    destination,
    kind: fc.constantFrom("direct" as const, "tunnel" as const, "slow" as const, "virtual" as const, "local" as const),
    ifindex: number,
    nextHop: address,
    mtu: number,
    peer: address,
    local: address,
  }),
  fc.record({ map: fc.constant("settings" as const), virtualRanges: number }),
);

test("property: every entry comes back from its bytes as it was, in the sizes of its map", () => {
  fc.assert(
    fc.property(entry, (value) => {
      const bytes = encodeEntry(value);
      expect([bytes.key.length, bytes.value.length]).toEqual(Object.values(ENTRY_SIZES[value.map]));
      expect(decodeEntry(value.map, bytes)).toEqual(value);
    }),
  );
});

test("property: any bytes give an entry or an AppError", () => {
  const map = fc.constantFrom("sources" as const, "endpoints" as const, "routes" as const, "settings" as const);
  const bytes = fc.uint8Array({ maxLength: 24 });
  fc.assert(
    fc.property(map, bytes, bytes, (name, key, value) => {
      try {
        expect(decodeEntry(name, { key, value }).map).toBe(name);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});

test("decodeCounters() adds up the processors", () => {
  const bytes = new Uint8Array(2 * COUNTER_BYTES);
  const view = new DataView(bytes.buffer);
  for (let field = 0; field < 10; field++) view.setBigUint64(field * 8, BigInt(field + 1), true);
  expect(decodeCounters(bytes)).toEqual({
    sentPackets: 7,
    sentBytes: 9,
    receivedPackets: 11,
    receivedBytes: 13,
    refusedPackets: 15,
  });
  expect([decodeNumber(Uint8Array.of(7, 0, 0, 0)), decodeAddress(Uint8Array.of(10, 2, 1, 5))]).toEqual([
    7,
    parseIpv4("10.2.1.5"),
  ]);
});
