import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { HostNetwork, NetworkAction, NetworkState } from "../platform/ports/host-network.ts";
import { makeKeyPair } from "../platform/tls/wireguard-keys.ts";
import { NO_ADDRESS } from "../platform/ports/host-network.ts";

/** A host with one uplink `eth0`, 192.0.2.1/24, and no engine. */
export interface ContractHost {
  readonly network: HostNetwork;
  /** What others do to it: takes a link down. */
  readonly setLinkDown: (name: string) => Promise<void>;
}

const ip = parseIpv4;
const BRIDGE = "apollo0";
const TUNNEL = "apollo-vx0";
const WIREGUARD = "apollo-wg0";
/** A pair that both worlds know. */
export const CONTRACT_KEYS = makeKeyPair();
const RANGE = "10.2.0.0/16";
const peer = { gateway: ip("10.2.3.1"), mac: "0a:70:0a:02:03:01", underlay: ip("198.51.100.3") };
const other = { gateway: ip("10.2.4.1"), mac: "0a:70:0a:02:04:01", underlay: ip("198.51.100.4") };
const block = {
  destination: "10.2.3.0/24",
  via: ip("10.2.3.1"),
  device: TUNNEL,
  source: ip("10.2.1.1"),
  mtu: 1450,
  onlink: true,
};
const direct = { ...block, destination: "10.2.2.0/24", via: ip("192.0.2.2"), device: "eth0", mtu: null, onlink: false };
const addBridge: NetworkAction = {
  kind: "add-bridge",
  name: BRIDGE,
  address: ip("10.2.1.1"),
  prefix: 16,
  mac: "0a:71:0a:02:01:01",
  mtu: 1500,
};
const addTunnel: NetworkAction = {
  kind: "add-vxlan",
  name: TUNNEL,
  vni: 201,
  port: 6784,
  local: ip("192.0.2.1"),
  mac: "0a:70:0a:02:01:01",
  mtu: 1450,
};

interface Step {
  readonly title: string;
  readonly actions?: readonly NetworkAction[];
  readonly linkDown?: string;
  /** Each must be refused with AppError `unavailable` and change nothing. */
  readonly refused?: readonly NetworkAction[];
  readonly links: readonly string[];
  readonly routes: readonly string[];
  readonly peers: readonly string[];
  /** Device and peers; not looked at when missing. */
  readonly wireguard?: readonly string[];
}

const addWireguard: NetworkAction = {
  kind: "add-wireguard",
  name: WIREGUARD,
  port: 6785,
  mtu: 1440,
  publicKey: CONTRACT_KEYS.publicKey,
};
const [KEY_A, KEY_B] = ["A".repeat(43) + "=", "B".repeat(42) + "A="];
const first = { publicKey: KEY_A, endpoint: "192.0.2.2:6785", allowedIps: ["10.2.5.0/24"], keepaliveSec: 25 };
const second = { publicKey: KEY_B, endpoint: null, allowedIps: [], keepaliveSec: 0 };
const encrypted: NetworkAction = {
  kind: "put-route",
  route: { ...block, destination: "10.2.5.0/24", via: null, device: WIREGUARD, mtu: 1440, onlink: false },
};

const CONNECTED = "10.2.0.0/16 dev apollo0 src 10.2.1.1";
const UPLINK = "192.0.2.0/24 dev eth0 src 192.0.2.1";
const DIRECT = "10.2.2.0/24 via 192.0.2.2 dev eth0 src 10.2.1.1 ours";
const BLOCK = "10.2.3.0/24 via 10.2.3.1 dev apollo-vx0 src 10.2.1.1 mtu 1450 onlink ours";
const BRIDGE_UP = "apollo0 bridge up 10.2.1.1/16";
const TUNNEL_UP = "apollo-vx0 vxlan up";
const ENCRYPTED = "10.2.5.0/24 dev apollo-wg0 src 10.2.1.1 mtu 1440 ours";
/** Of a kind that depends on where it runs: the kernel's own, or a tunnel of the program. */
const WIREGUARD_UP = "apollo-wg0 up";
const PEER = "10.2.3.1 0a:70:0a:02:03:01 198.51.100.3";
const secondary = { device: BRIDGE, address: ip("10.2.9.1"), prefix: 16 };

const STEPS: readonly Step[] = [
  {
    title: "nothing of ours on a fresh host, and nothing to delete",
    refused: [
      { kind: "delete-link", name: BRIDGE },
      { kind: "set-link-up", name: BRIDGE },
      { kind: "add-address", device: BRIDGE, address: ip("10.2.1.1"), prefix: 16 },
      { kind: "delete-route", destination: "10.2.2.0/24", device: "eth0" },
      { kind: "put-route", route: direct },
      { kind: "put-tunnel-peer", device: TUNNEL, peer },
      { kind: "set-sysctl", key: `net/ipv4/conf/${BRIDGE}/proxy_arp`, value: "1" },
      { kind: "allow-range", range: RANGE },
    ],
    actions: [{ kind: "remove-allow-range", range: RANGE }, { kind: "delete-ruleset" }],
    links: [],
    routes: [UPLINK],
    peers: [],
  },
  {
    title: "a bridge comes up with its address and its connected route, once",
    actions: [addBridge],
    refused: [
      { ...addBridge, address: ip("10.2.7.1") },
      { kind: "add-address", device: BRIDGE, address: ip("10.2.1.1"), prefix: 16 },
      { kind: "delete-address", device: BRIDGE, address: ip("10.2.5.1"), prefix: 16 },
    ],
    links: [BRIDGE_UP],
    routes: [CONNECTED, UPLINK],
    peers: [],
  },
  {
    title: "a direct route needs a next hop on the wire and a source of its own host",
    actions: [{ kind: "put-route", route: direct }],
    refused: [
      { kind: "put-route", route: { ...direct, destination: "10.2.8.0/24", via: ip("203.0.113.1") } },
      { kind: "put-route", route: { ...direct, destination: "10.2.8.0/24", source: ip("10.2.8.1") } },
      { kind: "delete-route", destination: "10.2.2.0/24", device: BRIDGE },
      { kind: "delete-route", destination: "192.0.2.0/24", device: "eth0" },
    ],
    links: [BRIDGE_UP],
    routes: [CONNECTED, DIRECT, UPLINK],
    peers: [],
  },
  {
    title: "a tunnel takes peers and routes to next hops that it has no address for",
    actions: [
      addTunnel,
      { kind: "put-tunnel-peer", device: TUNNEL, peer },
      { kind: "put-tunnel-peer", device: TUNNEL, peer },
      { kind: "put-tunnel-peer", device: TUNNEL, peer: other },
      { kind: "put-route", route: block },
      { kind: "put-route", route: block },
    ],
    refused: [addTunnel, { ...addTunnel, name: "apollo-vx1" }],
    links: [TUNNEL_UP, BRIDGE_UP],
    routes: [CONNECTED, DIRECT, BLOCK, UPLINK],
    peers: [PEER, "10.2.4.1 0a:70:0a:02:04:01 198.51.100.4"],
  },
  {
    title: "a peer is replaced, or deleted by halves",
    actions: [
      { kind: "delete-tunnel-peer", device: TUNNEL, peer: { ...other, underlay: NO_ADDRESS } },
      { kind: "put-tunnel-peer", device: TUNNEL, peer: { ...peer, underlay: ip("198.51.100.33") } },
    ],
    refused: [{ kind: "delete-tunnel-peer", device: TUNNEL, peer: other }],
    links: [TUNNEL_UP, BRIDGE_UP],
    routes: [CONNECTED, DIRECT, BLOCK, UPLINK],
    peers: ["0.0.0.0 0a:70:0a:02:04:01 198.51.100.4", "10.2.3.1 0a:70:0a:02:03:01 198.51.100.33"],
  },
  {
    title: "a tunnel that goes down loses routes and neighbours, not what it forwards",
    actions: [{ kind: "delete-tunnel-peer", device: TUNNEL, peer: { ...other, gateway: NO_ADDRESS } }],
    linkDown: TUNNEL,
    refused: [{ kind: "put-route", route: block }],
    links: ["apollo-vx0 vxlan down", BRIDGE_UP],
    routes: [CONNECTED, DIRECT, UPLINK],
    peers: ["0.0.0.0 0a:70:0a:02:03:01 198.51.100.33"],
  },
  {
    title: "and takes them again when it is up",
    actions: [
      { kind: "set-link-up", name: TUNNEL },
      { kind: "put-tunnel-peer", device: TUNNEL, peer },
      { kind: "put-route", route: block },
    ],
    links: [TUNNEL_UP, BRIDGE_UP],
    routes: [CONNECTED, DIRECT, BLOCK, UPLINK],
    peers: [PEER],
  },
  {
    title: "an address takes the later ones of its subnet and the routes with its name along",
    actions: [
      { kind: "add-address", ...secondary },
      { kind: "delete-address", device: BRIDGE, address: ip("10.2.1.1"), prefix: 16 },
    ],
    links: [TUNNEL_UP, "apollo0 bridge up"],
    routes: [UPLINK],
    peers: [PEER],
  },
  {
    title: "a route moves to another device by being put again",
    actions: [
      { kind: "add-address", device: BRIDGE, address: ip("10.2.1.1"), prefix: 16 },
      { kind: "put-route", route: { ...direct, destination: "10.2.3.0/24" } },
      { kind: "put-route", route: block },
    ],
    links: [TUNNEL_UP, BRIDGE_UP],
    routes: [CONNECTED, BLOCK, UPLINK],
    peers: [PEER],
  },
  {
    title: "a WireGuard device comes up with its key, once",
    actions: [addWireguard, encrypted],
    refused: [addWireguard, { ...addWireguard, name: BRIDGE }],
    links: [TUNNEL_UP, WIREGUARD_UP, BRIDGE_UP],
    routes: [CONNECTED, BLOCK, ENCRYPTED, UPLINK],
    peers: [PEER],
    wireguard: [`${CONTRACT_KEYS.publicKey} 6785`],
  },
  {
    title: "its peers are put together, and put again without their endpoint they keep it",
    actions: [
      { kind: "put-wireguard-peers", device: WIREGUARD, peers: [first, second] },
      { kind: "put-wireguard-peers", device: WIREGUARD, peers: [{ ...first, endpoint: null }] },
    ],
    refused: [{ kind: "put-wireguard-peers", device: TUNNEL, peers: [first] }],
    links: [TUNNEL_UP, WIREGUARD_UP, BRIDGE_UP],
    routes: [CONNECTED, BLOCK, ENCRYPTED, UPLINK],
    peers: [PEER],
    wireguard: [
      `${CONTRACT_KEYS.publicKey} 6785`,
      `${KEY_A} 192.0.2.2:6785 10.2.5.0/24 25`,
      `${KEY_B} nowhere nothing 0`,
    ],
  },
  {
    title: "a range moves from one WireGuard peer to another, and the device's own key is none",
    actions: [
      {
        kind: "put-wireguard-peers",
        device: WIREGUARD,
        peers: [
          { ...second, allowedIps: first.allowedIps },
          { ...second, publicKey: CONTRACT_KEYS.publicKey },
        ],
      },
    ],
    links: [TUNNEL_UP, WIREGUARD_UP, BRIDGE_UP],
    routes: [CONNECTED, BLOCK, ENCRYPTED, UPLINK],
    peers: [PEER],
    wireguard: [
      `${CONTRACT_KEYS.publicKey} 6785`,
      `${KEY_A} 192.0.2.2:6785 nothing 25`,
      `${KEY_B} nowhere 10.2.5.0/24 0`,
    ],
  },
  {
    title: "WireGuard peers are deleted, whether they are there or not; the others stay",
    actions: [
      { kind: "delete-wireguard-peers", device: WIREGUARD, publicKeys: [KEY_A] },
      { kind: "delete-wireguard-peers", device: WIREGUARD, publicKeys: [KEY_A] },
    ],
    links: [TUNNEL_UP, WIREGUARD_UP, BRIDGE_UP],
    routes: [CONNECTED, BLOCK, ENCRYPTED, UPLINK],
    peers: [PEER],
    wireguard: [`${CONTRACT_KEYS.publicKey} 6785`, `${KEY_B} nowhere 10.2.5.0/24 0`],
  },
  {
    title: "a deleted WireGuard device takes its routes and peers along",
    actions: [{ kind: "delete-link", name: WIREGUARD }],
    links: [TUNNEL_UP, BRIDGE_UP],
    routes: [CONNECTED, BLOCK, UPLINK],
    peers: [PEER],
    wireguard: [],
  },
  {
    title: "a deleted device is gone with all that hung on it",
    actions: [
      { kind: "delete-link", name: TUNNEL },
      { kind: "put-route", route: direct },
      { kind: "delete-link", name: BRIDGE },
    ],
    links: [],
    routes: [UPLINK],
    peers: [],
  },
];

/** One suite for the fake and for the kernel, so that the fake cannot be kinder. The steps build on each other. */
export function hostNetworkContract(name: string, host: () => ContractHost): void {
  for (const { title, actions = [], linkDown, refused = [], links, routes, peers, wireguard } of STEPS) {
    test(`${name}: ${title}`, async () => {
      const { network, setLinkDown } = host();
      for (const action of actions) await network.apply(action);
      if (linkDown !== undefined) await setLinkDown(linkDown);
      for (const action of refused) {
        const error = await network.apply(action).catch((thrown: unknown) => thrown);
        expect({ action, code: error instanceof AppError ? error.code : error }).toEqual({
          action,
          code: "unavailable",
        });
      }
      const want = { sysctls: [], range: RANGE, tunnelDevice: TUNNEL, wireguardDevice: WIREGUARD };
      const state = await network.observe(want);
      if (wireguard !== undefined) expect(wireguardTexts(state)).toEqual([...wireguard]);
      expect({ links: linkTexts(state), routes: routeTexts(state), peers: peerTexts(state) }).toEqual({
        links,
        routes,
        peers,
      });
    });
  }

  test(`${name}: paths are what the routes say`, async () => {
    const { network } = host();
    const path = { device: "eth0", via: null, source: ip("192.0.2.1"), mtu: 1500 };
    expect(await network.pathTo(ip("192.0.2.2"))).toEqual(path);
    expect((await network.pathTo(ip("192.0.2.1")))?.device).toBe("lo");
    expect(await network.pathTo(ip("203.0.113.1"))).toBeNull();
  });
}

function linkTexts(state: NetworkState): readonly string[] {
  return state.links
    .filter(({ name }) => name.startsWith("apollo"))
    .map(({ name, kind, up, addresses }) =>
      [
        name,
        ...(name === WIREGUARD ? [] : [kind]),
        up ? "up" : "down",
        ...addresses.map(({ address, prefix }) => `${address}/${prefix}`),
      ].join(" "),
    )
    .toSorted();
}

function routeTexts(state: NetworkState): readonly string[] {
  return state.routes
    .map(({ destination, via, device, source, mtu, onlink, marked }) =>
      [
        destination,
        ...(via === null ? [] : [`via ${via}`]),
        `dev ${device}`,
        ...(source === null ? [] : [`src ${source}`]),
        ...(mtu === null ? [] : [`mtu ${mtu}`]),
        ...(onlink ? ["onlink"] : []),
        ...(marked ? ["ours"] : []),
      ].join(" "),
    )
    .toSorted();
}

function wireguardTexts({ wireguard }: NetworkState): readonly string[] {
  if (wireguard === null) return [];
  const peers = wireguard.peers.map(
    ({ publicKey, endpoint, allowedIps, keepaliveSec }) =>
      `${publicKey} ${endpoint ?? "nowhere"} ${allowedIps.join() || "nothing"} ${keepaliveSec}`,
  );
  return [`${wireguard.publicKey} ${wireguard.port}`, ...peers.toSorted()];
}

function peerTexts(state: NetworkState): readonly string[] {
  return state.tunnelPeers.map(({ gateway, mac, underlay }) => `${gateway} ${mac} ${underlay}`).toSorted();
}
