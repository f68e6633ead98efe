import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { AppVersion } from "../model/app.ts";
import type { Host } from "../model/host.ts";
import type { AppId, HostId, Version } from "../model/ids.ts";
import { parseAppId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import { appSpec } from "../sim/agent-fixtures.ts";
import { checkFixedAddresses } from "./check-fixed-addresses.ts";

const VERSION = "2026-01-01T00:00:00.000Z" as Version;
const HOST: Host = {
  id: "id1" as HostId,
  name: "h1",
  address: parseIpv4("192.0.2.1"),
  credentialHash: "",
  blocks: ["10.2.1.0/24", "10.2.0.7/32"],
  resources: { cpus: 1, memoryMiB: 1, diskMiB: 1 },
  labels: {},
  joinedAtMs: 0,
  cordoned: false,
};

function stored(id: string, address: string): readonly [AppId, AppVersion] {
  const spec = appSpec({ id: parseAppId(id), addresses: [parseIpv4(address)] });
  return [spec.id, { version: VERSION, spec, lastScalingAt: VERSION, lastConfigChangeAt: VERSION }];
}

function refusal(
  address: string,
  apps: readonly (readonly [AppId, AppVersion])[] = [],
  claimed = new Map<Ipv4, string>(),
) {
  const state = { settings: DEFAULT_SETTINGS, apps: new Map(apps), hosts: new Map([[HOST.id, HOST]]) };
  try {
    checkFixedAddresses(appSpec({ addresses: [parseIpv4(address)] }), { state, claimed });
    return "accepted";
  } catch (error) {
    return (error as Error).message;
  }
}

test.each([
  ["10.2.0.10", "accepted"],
  ["10.2.0.7", "accepted"],
  ["10.3.0.10", "it is outside of the range 10.2.0.0/16"],
  ["10.2.0.0", "the first and the last address of the range"],
  ["10.2.255.255", "the first and the last address of the range"],
  ["10.2.1.10", 'block 10.2.1.0/24 of host "h1" covers it'],
])("checkFixedAddresses(): %s is %s", (address, wanted) => {
  expect(refusal(address)).toContain(wanted);
});

test("checkFixedAddresses() refuses another app's address, also one of the same request, and keeps an app's own", () => {
  expect(refusal("10.2.0.10", [stored("/other", "10.2.0.10")])).toContain('it belongs to app "/other"');
  const claimed = new Map<Ipv4, string>();
  expect(refusal("10.2.0.10", [], claimed)).toBe("accepted");
  const state = { settings: DEFAULT_SETTINGS, apps: new Map<AppId, AppVersion>(), hosts: new Map<HostId, Host>() };
  const second = appSpec({ id: parseAppId("/second"), addresses: [parseIpv4("10.2.0.10")] });
  expect(() => checkFixedAddresses(second, { state, claimed })).toThrow('it belongs to app "/web"');
  expect(refusal("10.2.1.10", [stored("/web", "10.2.1.10")])).toBe("accepted");
});
