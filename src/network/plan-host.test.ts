import { expect, test } from "bun:test";
import type { Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { EngineNetwork } from "../platform/ports/engine.ts";
import type { LinkFacts, Path } from "./choose-link-mode.ts";
import { NO_FACTS } from "./choose-link-mode.ts";
import type { HostPlan, KnownNetwork } from "./plan-host.ts";
import { planHost } from "./plan-host.ts";

const kernel = {
  links: [],
  routes: [],
  tunnelPeers: [],
  sysctls: {},
  rulesetDigest: null,
  rangeAllowed: true,
  wireguard: null,
  wireguardSupport: null,
};
const ENGINE_NETWORK_OF_ALL: EngineNetwork = {
  id: "n1",
  name: "apollo",
  driver: "bridge",
  subnet: "10.2.0.0/16",
  ipRange: "10.2.1.0/24",
  gateway: parseIpv4("10.2.1.1"),
  options: { "com.docker.network.bridge.name": "apollo0" },
  containers: {},
};
const policy = { encryption: "auto", trustedRanges: ["192.0.2.0/24"] } as const;
const path: Path = { device: "eth0", via: null, source: parseIpv4("192.0.2.1"), mtu: 1500 };

function peer(number: number, address = `192.0.2.${number}`): Peer {
  const blocks = [`10.2.${number}.0/24`];
  return { id: `id${number}` as HostId, name: `h${number}`, address: parseIpv4(address), blocks };
}

function plan(
  peers: readonly Peer[],
  facts: readonly (readonly [number, Partial<LinkFacts>])[],
  more: Partial<KnownNetwork> = {},
): HostPlan {
  const known: KnownNetwork = {
    range: "10.2.0.0/16",
    blocks: ["10.2.1.0/24"],
    peers,
    rules: [],
    policy,
    facts: new Map(facts.map(([number, each]) => [`id${number}` as HostId, { ...NO_FACTS, ...each }])),
    ...more,
  };
  const paths = new Map(peers.map(({ address }) => [address, path] as const));
  return planHost(known, { kernel, engine: { apiVersion: "1.41", networks: [] }, paths });
}

/** Routes that the plan puts, as "DESTINATION via HOP dev DEVICE mtu MTU". */
function routes({ actions }: HostPlan): readonly string[] {
  return actions.flatMap((action) => {
    if (action.kind !== "put-route") return [];
    const { destination, via, device, mtu } = action.route;
    return [`${destination} via ${via} dev ${device} mtu ${mtu}`];
  });
}

test("planHost() goes through a relay as that one itself is reached, as wide as the narrower of both ways", () => {
  const cause = "192.0.2.2 does not answer this host";
  const relay = { via: "id3" as HostId, mtu: 1400 };
  const direct = plan([peer(2), peer(3)], [[2, { relay, cause }]]);
  expect(routes(direct)).toContain("10.2.2.0/24 via 192.0.2.3 dev eth0 mtu 1400");
  expect(direct.links[0]).toMatchObject({ peer: "h2", mode: "relay", via: "h3", mtu: 1400, why: cause });
  expect(direct.conditions).toEqual([
    {
      code: "link-degraded",
      severity: "warning",
      text: `Host "h2" is reached through host "h3" as relay and not direct: ${cause}`,
      hint: expect.stringContaining("UDP 6783 and 6784"),
    },
  ]);
  const tunnelled = plan(
    [peer(2), peer(3)],
    [
      [2, { relay, cause }],
      [3, { skip: 1, cause }],
    ],
  );
  expect(routes(tunnelled)).toContain("10.2.2.0/24 via 10.2.3.1 dev apollo-vx0 mtu 1400");
});

test("planHost() has no way through a relay that is itself behind one, and says so", () => {
  const relay = (via: number): Partial<LinkFacts> => ({
    relay: { via: `id${via}` as HostId, mtu: null },
    cause: "cut",
  });
  const { links, conditions, actions } = plan(
    [peer(2), peer(3)],
    [
      [2, relay(3)],
      [3, relay(2)],
    ],
  );
  expect(links.map(({ mode }) => mode)).toEqual(["none", "none"]);
  expect(conditions.map(({ code }) => code)).toEqual(["peer-unreachable", "peer-unreachable"]);
  expect(routes({ actions } as HostPlan)).toEqual([]);
});

test("planHost() sends nothing where it would have to be encrypted, whatever was measured", () => {
  const relay = { relay: { via: "id3" as HostId, mtu: null }, cause: "cut" };
  const required = plan([peer(2), peer(3)], [[2, relay]], { policy: { ...policy, encryption: "required" } });
  expect(routes(required)).toEqual([]);
  expect(required.links.map(({ mode }) => mode)).toEqual(["none", "none"]);
  const outside = plan([peer(2, "198.51.100.2"), peer(3)], []);
  expect(routes(outside)).toEqual(["10.2.3.0/24 via 192.0.2.3 dev eth0 mtu 1500"]);
  expect(outside.conditions[0]?.text).toContain("must be encrypted");
});

test("planHost() puts the route of a mode under test beside the present one, with the tunnel that it needs", () => {
  const tested = plan([peer(2)], [[2, { skip: 1, testing: "direct", cause: "filtered" }]]);
  expect(routes(tested)).toEqual(
    ["10.2.2.0/24 via 10.2.2.1 dev apollo-vx0 mtu 1450", "10.2.2.0/32 via 192.0.2.2 dev eth0 mtu null"].toSorted(),
  );
  const relayed = { relay: { via: "id3" as HostId, mtu: null }, testing: "vxlan", cause: "filtered" } as const;
  const other = plan([peer(2), peer(3)], [[2, relayed]]);
  expect(routes(other)).toContain("10.2.2.0/32 via 10.2.2.1 dev apollo-vx0 mtu null");
  expect(other.actions).toContainEqual(expect.objectContaining({ kind: "add-vxlan", mtu: 1450 }));
});

test("planHost() gives this host a probe address once probes are sent, and none before", () => {
  const gateway = { address: parseIpv4("10.2.1.1"), prefix: 16 };
  const bridge = { name: "apollo0", kind: "bridge", index: 2, up: true, mtu: 1500, mac: "0a:71:0a:02:01:01" } as const;
  const links = [{ ...bridge, addresses: [gateway], vxlan: null }];
  const [free, taken] = [[], [{ ...ENGINE_NETWORK_OF_ALL, name: "bridge" }]];
  const added = (
    facts: KnownNetwork["facts"],
    networks: readonly EngineNetwork[] = free,
    probeAddress: KnownNetwork["probeAddress"] = null,
  ): readonly string[] => {
    const blocks = ["10.2.1.0/24", "10.2.7.0/24"];
    const known = { range: "10.2.0.0/16", blocks, probeAddress, peers: [], rules: [], policy, facts: facts ?? null };
    const { actions } = planHost(known, {
      kernel: { ...kernel, links },
      engine: { apiVersion: "1.41", networks },
      paths: new Map(),
    });
    return actions.flatMap((action) => (action.kind === "add-address" ? [`${action.address}/${action.prefix}`] : []));
  };
  expect(added(null)).toEqual([]);
  expect(added(new Map())).toEqual(["10.2.1.0/32"]);
  // Such an engine gives that address to its first container, unless it was told to begin elsewhere.
  expect(added(new Map(), taken)).toEqual([]);
  expect(added(new Map(), taken, parseIpv4("10.2.7.2"))).toEqual(["10.2.7.2/32"]);
  const upper = [{ ...ENGINE_NETWORK_OF_ALL, name: "bridge", ipRange: "10.2.1.128/25" }];
  expect(added(new Map(), upper)).toEqual(["10.2.1.0/32"]);
});

test("planHost() tries a peer at the address that it has told, or at the first one of its block", () => {
  const facts = { skip: 1, testing: "direct", cause: "filtered" } as const;
  const told = { ...peer(2), probeAddress: parseIpv4("10.2.2.130") };
  expect(routes(plan([told], [[2, facts]]))).toContain("10.2.2.130/32 via 192.0.2.2 dev eth0 mtu null");
  expect(routes(plan([peer(2)], [[2, facts]]))).toContain("10.2.2.0/32 via 192.0.2.2 dev eth0 mtu null");
});
