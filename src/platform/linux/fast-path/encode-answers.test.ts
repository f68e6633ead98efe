import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseIpv4 } from "../../../model/ip.ts";
import { parseIpv6 } from "../../../model/ip6.ts";
import {
  DNS_SIZES,
  answersThatFit,
  decodeDnsCounts,
  decodeGeneration,
  encodeAnswers,
  encodeDnsState,
} from "./encode-answers.ts";

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");
const PRESENT = { serial: 0x01020304, generation: 9 };

test("encodeDnsState() writes what the programs read: numbers in host order, the address in network order", () => {
  const gateway = parseIpv4("10.2.1.1");
  const seats = [
    { address: gateway, port: 53 },
    { address: parseIpv6("2001:db8::1:2"), port: 8600, uncounted: true },
  ];
  const state = encodeDnsState({ generation: 7, validUntilNs: 0x1122334455667788n, gateway, seats });
  expect([hex(state.key), hex(state.value).replace(/(00)+$/, "")]).toEqual([
    "00000000",
    "8877665544332211" +
      "07000000" +
      "0a020101" +
      ("00000000000000000000ffff0a020101" + "0035" + "0000") +
      ("20010db8000000000000000000010002" + "2198" + "01"),
  ]);
  const many = Array.from({ length: 20 }, () => ({ address: gateway, port: 53 }));
  expect(encodeDnsState({ generation: 7, validUntilNs: 0n, gateway, seats: many }).value.length).toBe(
    DNS_SIZES.dns_state.value,
  );
  expect(decodeGeneration(state.value)).toBe(7);
});

test("encodeAnswers() leaves the id out of question and answers, and lays the answers side by side", () => {
  const entry = encodeAnswers(
    Uint8Array.of(1, 2, 3, 4, 5),
    [Uint8Array.of(8, 8, 10, 11), Uint8Array.of(9, 9, 12, 13)],
    PRESENT,
  );
  expect(hex(entry?.key).replace(/(00)+$/, "")).toBe("0300" + "030405");
  expect(hex(entry?.value).replace(/(00)+$/, "")).toBe(
    "04030201" + "09000000" + "40000000" + "0200" + "0200" + "0a0b0c0d",
  );
  expect([entry?.key.length, entry?.value.length]).toEqual([DNS_SIZES.dns_answers.key, DNS_SIZES.dns_answers.value]);
});

test.each([
  ["a question that is too long", 129, [20]],
  ["a question of an id alone", 2, [20]],
  ["an answer that is too long", 30, [515]],
  ["answers of several lengths", 30, [40, 41]],
  ["no answer", 30, []],
])("encodeAnswers() has no place for %s", (_, asked, lengths) => {
  const answers = lengths.map((length) => new Uint8Array(length));
  expect(encodeAnswers(new Uint8Array(asked), answers, PRESENT)).toBeNull();
});

test("property: encodeAnswers() keeps as many as start in reach of the program and end within the value", () => {
  const wanted = fc.record({ bytes: fc.integer({ min: 3, max: 600 }), count: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(wanted, ({ bytes, count }) => {
      const answers = Array.from({ length: count }, (_, index) => new Uint8Array(bytes).fill(index + 1));
      const entry = encodeAnswers(new Uint8Array(40), answers, PRESENT);
      expect(entry === null).toBe(bytes > 514);
      if (entry === null) return;
      const view = new DataView(entry.value.buffer);
      const [length, kept] = [view.getUint16(12, true), view.getUint16(14, true)];
      expect([length, kept]).toEqual([bytes - 2, Math.min(count, answersThatFit(bytes))]);
      expect((kept - 1) * length).toBeLessThanOrEqual(512);
      for (let index = 0; index < kept; index++) {
        const at = 16 + index * length;
        expect(entry.value.subarray(at, at + length).every((byte) => byte === index + 1)).toBe(true);
      }
    }),
  );
});

test("decodeDnsCounts() adds up what each processor has counted", () => {
  const perProcessor = new Uint8Array(DNS_SIZES.dns_seen.value * 2);
  const view = new DataView(perProcessor.buffer);
  [5n, 1n, 7n, 2n].forEach((value, index) => view.setBigUint64(index * 8, value, true));
  expect(decodeDnsCounts(perProcessor)).toEqual({ answered: 12, passed: 3 });
});
