import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "./error.ts";
import { NETWORK_OBJECT_KINDS, parseNetworkObject } from "./network-config.ts";

test("parseNetworkObject() fills in the defaults", () => {
  expect(parseNetworkObject("policy", { name: "web", ports: [{ protocol: "tcp", from: 80, to: 80 }] })).toEqual({
    name: "web",
    network: "apollo",
    from: [],
    to: [],
    ports: [{ protocol: "tcp", from: 80, to: 80 }],
  });
});

test("parseNetworkObject() names the field that is wrong", () => {
  expect(() => parseNetworkObject("publication", { name: "web", service: "web", port: 0 })).toThrow(/\/port/);
  expect(() => parseNetworkObject("network", { name: "blue", range: "10.9.0.1/16" })).toThrow(/\/range must look like/);
  expect(() => parseNetworkObject("policy", { name: "all", from: [{}] })).toThrow(/\/from\/0 must name/);
  expect(() => parseNetworkObject("network", { name: "blue", range: "10.9.0.0/16", colour: "blue" })).toThrow(AppError);
});

test("parseNetworkObject() gives a value or an AppError for whatever it gets", () => {
  fc.assert(
    fc.property(fc.constantFrom(...NETWORK_OBJECT_KINDS), fc.jsonValue(), (kind, value) => {
      try {
        expect(parseNetworkObject(kind, value).name.length).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});
