import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../../model/error.ts";
import { parseBpfObject } from "./parse-bpf-object.ts";
import { parseFilteredDevices, parseFilters } from "./parse-tc-output.ts";

/** The start of every BPF object, so that what follows is looked at. */
const HEADER = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 247, 0];

test("property: any bytes give an object or an AppError", () => {
  const start = fc.constantFrom([], HEADER);
  const section = fc.tuple(fc.constant(HEADER), fc.uint8Array({ maxLength: 300 }));
  fc.assert(
    fc.property(fc.oneof(section, fc.tuple(start, fc.uint8Array({ maxLength: 80 }))), ([head, rest]) => {
      try {
        expect(parseBpfObject(Uint8Array.of(...head, ...rest)).programs).toBeArray();
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});

test("parseBpfObject() says what is wrong", () => {
  expect(() => parseBpfObject(new Uint8Array(100))).toThrow("it is no ELF file");
  const other = Uint8Array.of(...HEADER.slice(0, 18), 62, 0, ...new Uint8Array(44));
  expect(() => parseBpfObject(other)).toThrow("it is for another machine than BPF");
  expect(() => parseBpfObject(Uint8Array.of(...HEADER))).toThrow("it ends in the middle");
});

test("parseFilters() tells our program from others', parseFilteredDevices() lists each device once", () => {
  const bpf = (pref: number, id: number): object => ({ pref, kind: "bpf", chain: 0, options: { prog: { id } } });
  const head = { pref: 49201, kind: "bpf", chain: 0 };
  expect(parseFilters(JSON.stringify([head, bpf(49201, 7), bpf(1, 8)]), 49201)).toEqual({ own: 7, others: 1 });
  expect(parseFilters("[]", 49201)).toEqual({ own: null, others: 0 });
  expect(parseFilters("", 49201)).toEqual({ own: null, others: 0 });
  expect(() => parseFilters("no such device", 49201)).toThrow(AppError);
  const qdiscs = [
    { kind: "clsact", dev: "eth0" },
    { kind: "noqueue", dev: "eth0" },
    { kind: "clsact", dev: "a0" },
    { kind: "clsact", dev: "eth0" },
  ];
  expect(parseFilteredDevices(JSON.stringify(qdiscs))).toEqual(["a0", "eth0"]);
});
