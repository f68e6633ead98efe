import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  CNI_CODE,
  CniError,
  parseCniCommand,
  parseCniConfig,
  parseCniKey,
  parseCniNamespace,
  parseIpamResult,
  wantedAddresses,
  wantedName,
} from "./parse-cni-request.ts";

const MINIMAL = { cniVersion: "1.1.0", name: "net", type: "apollo-cni" };

function codeOf(work: () => unknown): number | "ok" {
  try {
    work();
    return "ok";
  } catch (error) {
    if (error instanceof CniError) return error.code;
    throw error;
  }
}

test("parseCniConfig() fills in defaults, passes over what is others', and names each fault with its code", () => {
  const config = parseCniConfig(JSON.stringify({ ...MINIMAL, bridge: "cni0", capabilities: { ips: true } }));
  expect(config).toMatchObject({ version: "1.1.0", network: "apollo", isDefaultGateway: true, routes: [] });
  expect(codeOf(() => parseCniConfig("{"))).toBe(CNI_CODE.decode);
  expect(codeOf(() => parseCniConfig("{}"))).toBe(CNI_CODE.invalidConfig);
  expect(codeOf(() => parseCniConfig(JSON.stringify({ ...MINIMAL, cniVersion: "0.2.0" })))).toBe(
    CNI_CODE.incompatibleVersion,
  );
});

test("a wanted address comes by capability, by args, or by CNI_ARGS, in this order, one of each family", () => {
  const both = (change: object, cniArgs?: string): ReturnType<typeof wantedAddresses> =>
    wantedAddresses(parseCniConfig(JSON.stringify({ ...MINIMAL, ...change })), cniArgs);
  const wanted = (change: object, cniArgs?: string): string | null => both(change, cniArgs).address;
  const byArgs = { args: { cni: { ips: ["10.2.1.8"] } } };
  expect(wanted({ ...byArgs, runtimeConfig: { ips: ["10.2.1.7/16"] } }, "IP=10.2.1.9")).toBe("10.2.1.7");
  expect(wanted(byArgs, "IP=10.2.1.9")).toBe("10.2.1.8");
  expect(wanted({}, "IgnoreUnknown=1;IP=10.2.1.9;X=y")).toBe("10.2.1.9");
  expect(wanted({}, "SKIP=1")).toBeNull();
  const dual = { runtimeConfig: { ips: ["FD00:0::7/64", "10.2.1.7/16"] } };
  expect(both(dual)).toMatchObject({ address: "10.2.1.7", address6: "fd00::7" });
  expect(both({}, "IP=fd00::1")).toMatchObject({ address: null, address6: "fd00::1" });
  for (const ips of [["10.2.1.7", "10.2.1.8"], ["fd00::1", "fd00::2"], ["here"], ["1.2.3.4.5"]]) {
    expect(codeOf(() => wanted({ runtimeConfig: { ips } }))).toBe(CNI_CODE.invalidConfig);
  }
});

test("the container's name comes from CNI_ARGS, else from its aliases, when DNS can have it", () => {
  const wanted = (aliases: readonly string[], cniArgs?: string): string | null =>
    wantedName(parseCniConfig(JSON.stringify({ ...MINIMAL, runtimeConfig: { aliases: { net: aliases } } })), cniArgs);
  expect(wanted(["543a8583eed6"], "IgnoreUnknown=1;K8S_POD_NAME=pod")).toBe("pod");
  expect(wanted(["bad name", "one"], "K8S_POD_NAME=..")).toBe("one");
  expect(wanted([])).toBeNull();
});

test("parseIpamResult() takes the first IPv4 address", () => {
  const ips = [{ address: "fd00::1/64" }, { address: "10.2.1.8/24", gateway: "10.2.1.1" }];
  expect(parseIpamResult(JSON.stringify({ ips }))).toMatchObject({
    address: "10.2.1.8",
    prefix: 24,
    gateway: "10.2.1.1",
  });
  const routes = [{ dst: "::/0", gw: "fd00::1" }, { dst: "10.8.0.0/16" }];
  expect(parseIpamResult(JSON.stringify({ ips, routes })).routes as unknown).toEqual(routes);
  for (const bad of ["", "{}", '{"ips":[]}', '{"ips":[{"address":"fd00::1/64"}]}']) {
    expect(codeOf(() => parseIpamResult(bad))).toBe(CNI_CODE.invalidConfig);
  }
});

test("whatever a runtime gives is read, or refused with a code", () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.object().map((extra) => JSON.stringify({ ...MINIMAL, ...extra })),
  );
  const value = fc.option(fc.string(), { nil: undefined });
  fc.assert(
    fc.property(text, value, value, (stdin, first, second) => {
      for (const work of [
        () => wantedAddresses(parseCniConfig(stdin), first),
        () => parseCniCommand(first),
        () => parseCniKey({ CNI_CONTAINERID: first, CNI_IFNAME: second }),
        () => parseCniNamespace({ CNI_NETNS: first }),
        () => parseIpamResult(stdin),
      ]) {
        expect(["ok", "number"]).toContain(typeof codeOf(work) === "number" ? "number" : "ok");
      }
    }),
  );
});
