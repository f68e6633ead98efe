import { expect, test } from "bun:test";
import type { Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { FakeHostNetwork } from "../sim/fake-host-network.ts";
import { NO_FACTS } from "./choose-link-mode.ts";
import type { HostPlan, KnownNetwork } from "./plan-host.ts";
import { planHost } from "./plan-host.ts";
import { NETWORK_SYSCTLS, TUNNEL } from "./plan-network.ts";
import { WIREGUARD } from "./wireguard/plan-wireguard.ts";

const RANGE = "10.2.0.0/16";
const key = (name: string): string => `${name.padEnd(43, "0")}=`;

function peer(number: number, keys: Partial<Peer> = { publicKey: key(`now${number}`) }): Peer {
  return {
    id: `h${number}` as HostId,
    name: `h${number}`,
    address: parseIpv4(`192.0.2.${number}`),
    blocks: [`10.2.${number}.0/24`],
    ...keys,
  };
}

const trustedRanges = ["192.0.2.0/24"];
const OFF = { policy: { encryption: "off", trustedRanges } } as const;

const KNOWN: KnownNetwork = {
  range: RANGE,
  blocks: ["10.2.1.0/24"],
  peers: [peer(2), peer(3, {})],
  rules: [],
  policy: { encryption: "required", trustedRanges },
  keys: { publicKey: key("own"), nextPublicKey: key("own2") },
};

function newHost(wireguardSupport: "kernel" | null = "kernel"): FakeHostNetwork {
  const uplink = { name: "eth0", address: parseIpv4("192.0.2.1"), prefix: 24, router: parseIpv4("192.0.2.254") };
  return new FakeHostNetwork({ uplinks: [uplink], wireguardSupport });
}

async function plan(host: FakeHostNetwork, known: KnownNetwork): Promise<HostPlan> {
  const want = { sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL, wireguardDevice: WIREGUARD };
  const paths = await Promise.all(
    known.peers.map(async ({ address }) => [address, await host.pathTo(address)] as const),
  );
  return planHost(known, { kernel: await host.observe(want), engine: null, paths: new Map(paths) });
}

async function pass(host: FakeHostNetwork, known: KnownNetwork): Promise<HostPlan> {
  const made = await plan(host, known);
  for (const action of made.actions) {
    if (action.kind === "reach-engine") continue;
    if (action.kind === "create-engine-network" || action.kind === "remove-engine-network") continue;
    await host.apply(action);
  }
  return made;
}

const routes = (host: FakeHostNetwork): readonly string[] =>
  String(host)
    .split("\n")
    .filter((line) => line.startsWith("route 10.2.") && line.endsWith(" ours"));

test("planHost() encrypts every link where that is required, and has none with a host that has no key", async () => {
  const host = newHost();
  const { links, conditions } = await pass(host, KNOWN);
  expect(links).toMatchObject([
    { peer: "h2", mode: "wireguard", why: "encryption is required", mtu: 1440, encryption: "wireguard" },
    {
      peer: "h3",
      mode: "none",
      why: "it must be encrypted (encryption is required), and its agent has told no WireGuard key: update it",
      mtu: null,
    },
  ]);
  expect(conditions.map(({ code }) => code)).toEqual(["engine-down", "peer-unreachable"]);
  expect(routes(host)).toEqual(["route 10.2.2.0/24 dev apollo-wg0 src 10.2.1.1 mtu 1440 ours"]);
  expect(String(host)).toContain("wireguard apollo-wg0 peer now2");
  expect(String(host)).toContain("counter name encryption_leaving drop");
  expect((await plan(host, KNOWN)).actions).toEqual([{ kind: "reach-engine" }]);
});

test("planHost() puts the rules before any route when links become encrypted", async () => {
  const host = newHost();
  await pass(host, { ...KNOWN, ...OFF });
  expect(routes(host)).toHaveLength(2);
  const kinds = (await plan(host, KNOWN)).actions.map(({ kind }) => kind);
  expect(kinds[0]).toBe("put-ruleset");
  expect(kinds.indexOf("put-wireguard-peers")).toBeLessThan(kinds.indexOf("put-route"));
});

test("planHost() goes back to plain links and leaves nothing of encryption behind", async () => {
  const host = newHost();
  await pass(host, { ...KNOWN, ...OFF });
  const plain = String(host);
  await pass(host, KNOWN);
  await pass(host, { ...KNOWN, ...OFF });
  expect(String(host)).toBe(plain);
});

test("planHost() without WireGuard has no route instead of a clear one, and says what to install", async () => {
  const host = newHost(null);
  await pass(host, { ...KNOWN, ...OFF });
  const { conditions } = await pass(host, KNOWN);
  expect(conditions.filter(({ code }) => code === "wireguard-missing")).toEqual([
    {
      code: "wireguard-missing",
      severity: "error",
      text: "Cannot encrypt: this host has neither WireGuard in its kernel nor the program wireguard-go, or lacks wg",
      hint: "apt-get install wireguard-tools wireguard-go; until then links that must be encrypted carry nothing",
    },
  ]);
  expect(routes(host)).toEqual([]);
  expect((await plan(host, KNOWN)).actions).toEqual([{ kind: "reach-engine" }]);
});

test("planHost() without a key of its own has no link where encryption is required", async () => {
  const { links } = await plan(newHost(), { ...KNOWN, keys: null });
  expect(links.map(({ mode, why }) => `${mode}: ${why}`)).toEqual([
    "none: it must be encrypted (encryption is required), and this host has no WireGuard key",
    "none: it must be encrypted (encryption is required), and this host has no WireGuard key",
  ]);
});

test("planHost() encrypts towards hosts outside the trusted ranges alone, unless told otherwise", async () => {
  const far: Peer = { ...peer(4), address: parseIpv4("198.51.100.4") };
  const { links } = await plan(newHost(), {
    ...KNOWN,
    peers: [peer(2), far],
    policy: { encryption: "auto", trustedRanges },
  });
  expect(links).toMatchObject([
    { peer: "h2", mode: "direct", encryption: "none" },
    { peer: "h4", mode: "wireguard", encryption: "wireguard", why: expect.stringContaining("in no trusted range") },
  ]);
});

test("planHost() encrypts to the end what another host carries", async () => {
  const cause = "192.0.2.2 does not answer this host";
  const relay = { via: "h3" as HostId, mtu: null };
  const facts = new Map([["h2" as HostId, { ...NO_FACTS, relay, cause }]]);
  const host = newHost();
  const { links } = await pass(host, { ...KNOWN, peers: [peer(2), peer(3)], facts });
  expect(links[0]).toMatchObject({ peer: "h2", mode: "relay", via: "h3", encryption: "wireguard" });
  expect(routes(host)).toEqual([
    "route 10.2.2.0/24 dev apollo-wg0 src 10.2.1.1 mtu 1380 ours",
    "route 10.2.2.0/32 dev apollo-wg0 src 10.2.1.0 mtu 1440 ours",
    "route 10.2.3.0/24 dev apollo-wg0 src 10.2.1.1 mtu 1440 ours",
  ]);
});
