import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../model/error.ts";
import { parseElements } from "./linux-link-counters.ts";

const LIST = {
  nftables: [
    { metainfo: { version: "1.0.6" } },
    {
      set: {
        family: "inet",
        name: "links_sent",
        elem: [
          { elem: { val: "10.2.3.0", counter: { packets: 4, bytes: 282 } } },
          { elem: { val: "fd12::a02:100:0:0", counter: { packets: 2, bytes: 208 } } },
          { elem: { val: { prefix: { addr: "10.2.4.0", len: 24 } }, counter: { packets: 1, bytes: 1 } } },
          { elem: { val: "name", counter: { packets: 1, bytes: 1 } } },
          "10.2.5.0",
        ],
      },
    },
  ],
};

test("parseElements() reads the bytes of each element, and leaves out what is none", () => {
  expect(parseElements(JSON.stringify(LIST)).map(([address, bytes]) => `${address} ${bytes}`)).toEqual([
    "10.2.3.0 282",
    "fd12::a02:100:0:0 208",
  ]);
  expect(parseElements(JSON.stringify({ nftables: [{ set: { name: "links_sent" } }] }))).toEqual([]);
});

test("parseElements() takes any text or says that it is none of nft's", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        expect(Array.isArray(parseElements(text))).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});
