import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Container } from "../model/container.ts";
import { parseIpv4 } from "../model/ip.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { BunUnixListener } from "../platform/http/bun-unix-listener.ts";
import type { Clock } from "../platform/ports/clock.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import { gateway6Of } from "../network/address6.ts";
import type { DeclaredNetwork } from "../network/declared-network.ts";
import { bridgeOf } from "../network/declared-network.ts";
import { IDENTITY, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { FakeWiring } from "../sim/fake-wiring.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { localNetworks } from "./local-network.ts";
import type { DockerPluginPart } from "./docker-plugin-part.ts";
import { createDockerPluginPart } from "./docker-plugin-part.ts";
import { DockerPlugin } from "./docker-plugin.ts";
import { AddressBook } from "./address-book.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

interface World {
  readonly wiring: FakeWiring;
  readonly part: DockerPluginPart;
  readonly book: AddressBook;
  readonly post: (call: string, body?: object) => Promise<{ readonly status: number; readonly value: Answer }>;
}

type Answer = Readonly<Record<string, unknown>> & { readonly Err?: string };

/** A part on its socket, with a kernel in memory. */
async function start(
  change: {
    readonly containers?: () => readonly Container[] | null;
    readonly clock?: Clock;
    /** Of the cluster; null for none. */
    readonly range6?: string;
    readonly declared?: readonly DeclaredNetwork[];
  } = {},
): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), "apollo-plugin-"));
  const path = join(directory, "apollo.sock");
  const [clock, log, state] = [systemClock, recordingLog(), joinedState()];
  const wiring = new FakeWiring(clock);
  const file = new MemoryFile("addresses.json", clock);
  const book = new AddressBook({ state, file, clock, log });
  state.setEngineRange("10.2.1.0/25");
  book.see(new Set(), new Map());
  const gateway = parseIpv4("10.2.1.1");
  const { range6, declared = [] } = change;
  if (range6 !== undefined) state.identity = { ...IDENTITY, settings: { ...IDENTITY.settings, range6 } };
  const networks = declared.map(({ name, layer2, range, vni }) =>
    parseNetworkObject("network", { name, mode: layer2 ? "layer2" : "routed", range, vni }),
  );
  state.networkConfig = { ...state.networkConfig, networks };
  state.setDeclared(declared);
  for (const { vni } of declared) wiring.bridges.add(bridgeOf(vni));
  const six = range6 === undefined ? null : gateway6Of(range6, gateway);
  const bridgeFor = localNetworks(
    state,
    () => gateway,
    () => six,
  );
  const plugin = new DockerPlugin({ wiring, book, bridgeFor, file: new MemoryFile("plugin.json", clock) });
  const listener = new BunUnixListener({ clock, log });
  const attach = { containers: change.containers ?? (() => null) };
  const part = createDockerPluginPart({
    state,
    plugin,
    attach,
    wiring,
    book,
    bridgeFor,
    listener,
    clock: change.clock ?? clock,
    log,
    path,
  });
  const abort = new AbortController();
  const running = part.run(abort.signal);
  ends.push(async () => {
    abort.abort();
    await running;
    rmSync(directory, { recursive: true });
  });
  const post: World["post"] = async (call, body = {}) => {
    const response = await fetch(`http://plugin/${call}`, { unix: path, method: "POST", body: JSON.stringify(body) });
    return { status: response.status, value: (await response.json()) as Answer };
  };
  return { wiring, part, book, post };
}

const IPV4_DATA = [{ AddressSpace: "apollo", Pool: "10.2.0.0/16", Gateway: "10.2.1.1/16" }];

test("the engine's calls for a network, a container and their end leave nothing behind", async () => {
  const { post, wiring, part, book } = await start();
  expect((await post("Plugin.Activate")).value).toEqual({ Implements: ["NetworkDriver", "IpamDriver"] });
  expect((await post("IpamDriver.RequestPool", { AddressSpace: "apollo", Pool: "10.2.0.0/16" })).value).toEqual({
    PoolID: "apollo/apollo",
    Pool: "10.2.0.0/16",
    Data: {},
  });
  const gateway = {
    PoolID: "apollo/apollo",
    Address: "",
    Options: { RequestAddressType: "com.docker.network.gateway" },
  };
  expect((await post("IpamDriver.RequestAddress", gateway)).value).toMatchObject({ Address: "10.2.1.1/16" });
  await post("NetworkDriver.CreateNetwork", { NetworkID: "n1", IPv4Data: IPV4_DATA, IPv6Data: [] });
  const { Address } = (await post("IpamDriver.RequestAddress", { PoolID: "apollo/apollo" })).value;
  expect(Address).toBe("10.2.1.130/16");
  const endpoint = { NetworkID: "n1", EndpointID: "e1" };
  const created = await post("NetworkDriver.CreateEndpoint", { ...endpoint, Interface: { Address } });
  expect(created.value).toEqual({ Interface: { MacAddress: "02:42:0a:02:01:82" } });
  const joined = await post("NetworkDriver.Join", { ...endpoint, SandboxKey: "/x" });
  expect(joined.value).toMatchObject({
    InterfaceName: { SrcName: expect.stringMatching(/^vethpx/), DstPrefix: "eth" },
    Gateway: "10.2.1.1",
    DisableGatewayService: true,
  });
  expect(String(wiring)).toBe("loose on apollo0 to the host");
  await until(() => part.wiredPorts()?.length === 1);
  expect(part.wiredPorts()).toMatchObject([{ network: "apollo", mac: "02:42:0a:02:01:82", addresses: ["10.2.1.130"] }]);
  // The engine repeats a call whose answer it did not get.
  expect((await post("NetworkDriver.Join", { ...endpoint, SandboxKey: "/x" })).status).toBe(200);
  for (const call of ["Leave", "DeleteEndpoint"])
    expect((await post(`NetworkDriver.${call}`, endpoint)).value).toEqual({});
  await post("IpamDriver.ReleaseAddress", { PoolID: "apollo/apollo", Address: "10.2.1.130" });
  await post("NetworkDriver.DeleteNetwork", { NetworkID: "n1" });
  expect(String(wiring)).toBe("");
  expect(book.owners().size).toBe(0);
});

test("an endpoint gets the IPv6 address that follows from its IPv4 one, whatever the engine's network says", async () => {
  const common = { policy: "open", internal: false, ip6: true } as const;
  const { post, part } = await start({
    range6: "fd12:3456:789a::/64",
    declared: [
      { ...common, name: "blue", layer2: false, range: "10.50.0.0/16", vni: 1003 },
      { ...common, name: "lab", layer2: true, range: "10.9.0.0/24", vni: 1001 },
    ],
  });
  const make = async (network: string, Address: string): Promise<readonly [Answer, Answer]> => {
    const Options = { "com.docker.network.generic": { "apollo.network": network } };
    await post("NetworkDriver.CreateNetwork", { NetworkID: network, Options, IPv4Data: IPV4_DATA });
    const endpoint = { NetworkID: network, EndpointID: `e-${network}` };
    const created = (await post("NetworkDriver.CreateEndpoint", { ...endpoint, Interface: { Address } })).value;
    return [created, (await post("NetworkDriver.Join", { ...endpoint, SandboxKey: "/x" })).value];
  };
  const [flat, flatJoin] = await make("apollo", "10.2.1.130/16");
  expect(flat["Interface"]).toMatchObject({ AddressIPv6: "fd12:3456:789a:0:a02:100:a02:182/96" });
  const gateway = "fd12:3456:789a:0:a02:100:a02:101";
  expect(flatJoin).toMatchObject({
    GatewayIPv6: gateway,
    StaticRoutes: [{ Destination: "fd12:3456:789a::/64", RouteType: 0, NextHop: gateway }],
  });
  const [blue, blueJoin] = await make("blue", "10.50.1.2/16");
  expect(blue["Interface"]).toMatchObject({ AddressIPv6: "fd12:3456:789a::3eb:a32:102/128" });
  const next = "fd12:3456:789a::3eb:a32:1";
  expect(blueJoin).toMatchObject({
    GatewayIPv6: next,
    StaticRoutes: [
      { Destination: `${next}/128`, RouteType: 1, NextHop: "" },
      { Destination: "fd12:3456:789a::3eb:0:0/96", RouteType: 0, NextHop: next },
    ],
  });
  const [lab, labJoin] = await make("lab", "10.9.0.2/24");
  expect(lab["Interface"]).toMatchObject({ AddressIPv6: "fd12:3456:789a::3e9:a09:2/96" });
  expect(Object.keys(labJoin)).toEqual(["InterfaceName"]);
  await until(() => part.wiredPorts()?.length === 3);
  expect(part.wiredPorts()?.flatMap(({ addresses6 = [] }) => addresses6.map(String))).toEqual([
    "fd12:3456:789a:0:a02:100:a02:182",
    "fd12:3456:789a::3eb:a32:102",
    "fd12:3456:789a::3e9:a09:2",
  ]);
});

test("what Apollo never heard of may be deleted, and what it cannot do is said with the cure", async () => {
  const { post } = await start();
  for (const call of ["Leave", "DeleteEndpoint"]) {
    expect((await post(`NetworkDriver.${call}`, { NetworkID: "n", EndpointID: "e" })).value).toEqual({});
  }
  expect((await post("NetworkDriver.DeleteNetwork", { NetworkID: "n" })).value).toEqual({});
  expect((await post("IpamDriver.ReleaseAddress", { PoolID: "apollo/apollo", Address: "10.2.1.9" })).value).toEqual({});
  const refused = async (call: string, body: object): Promise<string> => {
    const { status, value } = await post(call, body);
    return `${status} ${value.Err ?? ""}`;
  };
  const generic = { "com.docker.network.generic": { "apollo.network": "nope" } };
  const create = { NetworkID: "n1", IPv4Data: IPV4_DATA };
  expect(await refused("NetworkDriver.CreateNetwork", { ...create, Options: generic })).toContain("no such network");
  const foreign = [{ AddressSpace: "LocalDefault", Pool: "172.18.0.0/16", Gateway: "172.18.0.1/16" }];
  expect(await refused("NetworkDriver.CreateNetwork", { ...create, IPv4Data: foreign })).toContain(
    "--ipam-driver apollo",
  );
  expect(await refused("IpamDriver.RequestPool", { Pool: "10.9.0.0/16" })).toContain("--subnet 10.2.0.0/16");
  // Answered with a pool, the engine would ask again for ever.
  expect(await refused("IpamDriver.RequestPool", { Pool: "" })).toContain("--subnet 10.2.0.0/16");
  expect(await refused("IpamDriver.RequestPool", { Pool: "fd00::/64", V6: true })).toContain("Leave --ipv6");
  const dual = { ...create, IPv6Data: [{ Pool: "fd00::/64" }] };
  expect(await refused("NetworkDriver.CreateNetwork", dual)).toContain("follow from their IPv4 ones");
  const part = { Pool: "10.2.0.0/16", SubPool: "10.2.1.128/25" };
  expect(await refused("IpamDriver.RequestPool", part)).toContain("Leave --ip-range out");
  expect(await refused("IpamDriver.RequestAddress", { PoolID: "apollo/apollo", Address: "10.2.9.9" })).toContain(
    "Choose one of 10.2.1.128/25",
  );
  expect(await refused("NetworkDriver.Join", { NetworkID: "n", EndpointID: "never" })).toContain(
    "Start the container again",
  );
  expect(await refused("NetworkDriver.Join", { NetworkID: "n" })).toStartWith("500 Cannot read NetworkDriver.Join");
  expect(await refused("NetworkDriver.Fly", {})).toStartWith("404");
});

test("addresses and wires that the engine could not give back are taken back in the second sweep", async () => {
  const clock = new VirtualClock();
  const { post, wiring, book } = await start({ containers: () => [], clock });
  await post("IpamDriver.RequestAddress", { PoolID: "apollo/apollo" });
  const far = { device: "vethep00000009", far: "vethpx00000009", bridge: "apollo0", mac: "02:42:0a:02:01:09" };
  await wiring.connectLoose(far);
  await until(() => {
    void clock.advance(20_000);
    return book.owners().size === 0 && String(wiring) === "";
  });
  expect([book.owners().size, String(wiring)]).toEqual([0, ""]);
});

async function until(holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error("It did not come within 10 s");
    await Bun.sleep(5);
  }
}
