import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import { parsePluginAddress, parsePluginCall, readNetworkOption } from "./parse-plugin-call.ts";

test("parsePluginCall() reads what the engine sends, null lists and unknown fields included", () => {
  const body = { NetworkID: "n", Options: null, IPv4Data: [{ Pool: "10.2.0.0/16", New: 1 }], IPv6Data: null };
  expect(parsePluginCall("/NetworkDriver.CreateNetwork", JSON.stringify(body))).toEqual({
    call: "NetworkDriver.CreateNetwork",
    body: {
      NetworkID: "n",
      Options: null,
      IPv4Data: [{ AddressSpace: "", Pool: "10.2.0.0/16", Gateway: "" }],
      IPv6Data: null,
    },
  });
  expect(parsePluginCall("/Plugin.Activate", "")).toMatchObject({ call: "Plugin.Activate" });
  expect(parsePluginCall("/NetworkDriver.AllocateNetwork", "{}")).toBeNull();
  expect(() => parsePluginCall("/NetworkDriver.Leave", "{}")).toThrow("Cannot read NetworkDriver.Leave: NetworkID");
  expect(() => parsePluginCall("/NetworkDriver.Leave", "{")).toThrow("it is not JSON");
});

test("a network is chosen by an option of the driver or of the IPAM driver", () => {
  expect(readNetworkOption({ "com.docker.network.generic": { "apollo.network": "blue" } })).toBe("blue");
  expect(readNetworkOption({ "apollo.network": "blue" })).toBe("blue");
  for (const none of [null, undefined, {}, { "apollo.network": 7 }, { "com.docker.network.generic": null }]) {
    expect(readNetworkOption(none)).toBeNull();
  }
  expect(String(parsePluginAddress("10.2.1.7/16"))).toBe("10.2.1.7");
  expect(parsePluginAddress("")).toBeNull();
  expect(() => parsePluginAddress("fe80::1/64")).toThrow("no IPv4 address");
});

test("whatever comes is a call, unknown, or refused", () => {
  const path = fc.oneof(fc.string(), fc.constantFrom("/NetworkDriver.Join", "/IpamDriver.RequestAddress", "/toString"));
  const body = fc.oneof(fc.string(), fc.json());
  fc.assert(
    fc.property(path, body, (at, text) => {
      try {
        parsePluginCall(at, text);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});
