import { afterAll, beforeAll, expect, test } from "bun:test";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { DesiredNetwork, DesiredPeer } from "../../src/network/plan-network.ts";
import { BRIDGE, TUNNEL_PORT, planNetwork } from "../../src/network/plan-network.ts";
import { gatewayOf, probeAddressOf } from "../../src/network/blocks.ts";
import { renderRuleset } from "../../src/network/render-ruleset.ts";
import { containerMac } from "../../src/network/attachment.ts";
import type { DeclaredNetwork } from "../../src/network/declared-network.ts";
import { bridgeOf, declaredGateway } from "../../src/network/declared-network.ts";
import { planDeclaredNetworks } from "../../src/network/plan-declared-networks.ts";
import { declaredWire6, wireEnd6 } from "../../src/network/wire6.ts";
import { LinuxSegments } from "../../src/platform/linux/linux-segments.ts";
import { LinuxWiring } from "../../src/platform/linux/linux-wiring.ts";
import { encryptedRelay } from "../../src/network/wireguard/encrypted-relay.ts";
import { WIREGUARD_OVERHEAD_BYTES, WIREGUARD_PORT } from "../../src/network/wireguard/plan-wireguard.ts";
import { renderEncryption } from "../../src/network/wireguard/render-encryption.ts";
import type { NetworkAction } from "../../src/platform/ports/host-network.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, bytesFrom, clientSeenBy, pings, takesNoConnection, waitFor } from "./network-lab.ts";
import { Capture, RANGE, WireguardHost, addSwitch, introduce } from "./wireguard-host.ts";

// a, b and c hang on one switch that lets nothing pass between a and c.
const NAMES = ["a", "b", "c"] as const;
const TRANSFER_BYTES = 4_000_000;
const SECRET = "the-words-that-nobody-else-may-read";
const lab = new NetworkLab("wgrelay");
const hosts = new Map<string, WireguardHost>();
const containers = new Map<string, Namespace>();

const RANGE6 = "fd12:3456:789a::/64";
/** One segment over a and c. */
const LAB: DeclaredNetwork = {
  name: "lab",
  layer2: true,
  range: "10.9.0.0/24",
  policy: "open",
  internal: false,
  vni: 1001,
};
const inLab = (name: "a" | "c"): ReturnType<typeof parseIpv4> => parseIpv4(name === "a" ? "10.9.0.11" : "10.9.0.13");
const labEnd6 = (name: "a" | "c"): ReturnType<typeof wireEnd6> => wireEnd6(declaredWire6(RANGE6, LAB), inLab(name));

/** The segment on a host, and a container of it. */
async function joinLab(name: "a" | "c"): Promise<void> {
  const { runner } = of(hosts, name).space;
  const segments = new LinuxSegments({ runner });
  const [local, far] = [name, name === "a" ? "c" : "a"].map((each) => gatewayOf([of(hosts, each).block]));
  if (local === undefined || far === undefined) throw new Error("Expected two gateways");
  const desired = { local, range6: RANGE6, networks: [{ ...LAB, hosts: [far] }] };
  for (const action of planDeclaredNetworks(desired, await segments.observe()).actions)
    if (action.kind !== "allow-bridges") await segments.apply(action);
  const made = await lab.addNamespace(`${name}lab`);
  const address = inLab(name);
  await new LinuxWiring({ runner }).connect({
    device: "vethat00000001",
    bridge: bridgeOf(LAB.vni),
    namespacePath: `/run/netns/${made.name}`,
    end: {
      name: "apollo",
      mac: containerMac(address),
      address,
      prefix: 24,
      gateway: declaredGateway(LAB.range),
      six: labEnd6(name),
      defaultRoute: "never",
      multicast: true,
      routes: [],
    },
  });
  containers.set(`${name} in lab`, made);
  // On both families.
  lab.start(made, ["socat", "TCP6-LISTEN:9000,reuseaddr,fork,ipv6only=0", `EXEC:head -c ${TRANSFER_BYTES} /dev/zero`]);
  await lab.listens(made, "-Hltn", 9000);
}

function of<T>(map: ReadonlyMap<string, T>, name: string): T {
  const one = map.get(name);
  if (one === undefined) throw new Error(`There is no ${name}`);
  return one;
}

function plainPeer(name: string, mode: "direct" | "wireguard"): DesiredPeer {
  const { address, block, keys } = of(hosts, name);
  const base = { gateway: gatewayOf([block]), underlay: address, blocks: [block], device: "eth0" };
  if (mode === "direct") return { ...base, mode, mtu: 1500 };
  const wireguard = { keys: Object.values(keys.announced()), endpoint: `${address}:${WIREGUARD_PORT}` };
  return { ...base, mode, mtu: 1500 - WIREGUARD_OVERHEAD_BYTES, wireguard };
}

interface Way {
  /** Mode of b's own links, over which it carries a and c. */
  readonly hop: "direct" | "wireguard";
  readonly sealed: boolean;
}

const WAYS: readonly Way[] = [
  { hop: "wireguard", sealed: true },
  { hop: "direct", sealed: false },
  // No link is so by policy; it shows that the rules let the carried packets through, and only them.
  { hop: "direct", sealed: true },
];

/** What the links of `name` come to while b carries those between a and c. */
function desire(name: string, { hop, sealed }: Way): DesiredNetwork {
  const { block, keys } = of(hosts, name);
  const far = name === "a" ? "c" : "a";
  const carried = encryptedRelay(of(hosts, far).peer(), plainPeer("b", hop));
  const peers = name === "b" ? [plainPeer("a", hop), plainPeer("c", hop)] : [carried.far, carried.relay];
  const encryption = renderEncryption({
    range: RANGE,
    inside: [BRIDGE],
    sealed,
    used: true,
    probes: NAMES.map((each) => probeAddressOf({ blocks: [of(hosts, each).block] })),
    tunnelPort: TUNNEL_PORT,
  });
  const encrypted = peers.filter(({ mode }) => mode === "wireguard");
  return {
    range: RANGE,
    gateway: gatewayOf([block]),
    probeAddress: probeAddressOf({ blocks: [block] }),
    bridgeMtu: 1500,
    tunnel: null,
    wireguard:
      encrypted.length === 0
        ? null
        : { publicKey: keys.announced().publicKey, mtu: Math.max(...encrypted.map(({ mtu }) => mtu)) },
    peers,
    ruleset: renderRuleset({
      range: RANGE,
      bridge: BRIDGE,
      parts: encryption === null ? [] : [encryption],
    }),
  };
}

async function pass(name: string, way: Way): Promise<readonly NetworkAction[]> {
  const host = of(hosts, name);
  const actions = planNetwork(desire(name, way), await host.observe());
  for (const action of actions) await host.network().apply(action);
  return actions;
}

beforeAll(async () => {
  const middle = await addSwitch(lab, "192.0.2.254/24");
  for (const [index, name] of NAMES.entries()) {
    const number = index + 1;
    const wanted = { name, address: parseIpv4(`192.0.2.${number}`), block: `10.2.${number}.0/24` };
    const host = new WireguardHost(await lab.addNamespace(name), wanted);
    hosts.set(name, host);
    const far = { at: middle, device: `to-${name}` };
    await lab.wire({ at: host.space, device: "eth0", address: `${host.address}/24` }, far);
    await middle.runner.run(["ip", "link", "set", far.device, "master", "lan"]);
    // Ports that are isolated reach only those that are not.
    if (name !== "b") await middle.runner.run(["bridge", "link", "set", "dev", far.device, "isolated", "on"]);
  }
  introduce([...hosts.values()]);
  for (const name of NAMES) await pass(name, { hop: "wireguard", sealed: true });
  for (const name of NAMES) {
    const host = of(hosts, name);
    const container = await lab.addContainer(host.space, `${name}5`, host.block.replace(".0/24", ".5"));
    containers.set(name, container);
    await lab.serve(container, 8080, "printenv SOCAT_PEERADDR");
    await lab.serve(container, 8081, `echo ${SECRET}`);
    await lab.serve(container, 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
  for (const name of ["a", "c"] as const) await joinLab(name);
}, 60_000);

afterAll(async () => {
  for (const host of hosts.values()) await host.close();
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("a and c do not reach each other by themselves", async () => {
  const { code } = await of(hosts, "a").space.runner.run(["ping", "-c", "1", "-W", "0.5", "192.0.2.3"], {
    okCodes: [0, 1],
  });
  expect(code).toBe(1);
});

for (const way of WAYS) {
  const text = `${way.hop}${way.sealed ? ", encryption required" : ""}`;
  test(`over a host whose own links are ${text}: containers reach each other and keep their addresses`, async () => {
    for (const name of NAMES) await pass(name, way);
    for (const name of NAMES) expect(await pass(name, way)).toEqual([]);
    const seen = (from: string, to: string): Promise<string | null> => clientSeenBy(of(containers, from), to, 8080);
    await waitFor("the way from a to c", async () => (await seen("a", "10.2.3.5")) !== null);
    expect(await seen("a", "10.2.3.5")).toBe("10.2.1.5");
    expect(await seen("c", "10.2.1.5")).toBe("10.2.3.5");
    if (way.hop === "wireguard" || !way.sealed) expect(await seen("a", "10.2.2.5")).toBe("10.2.1.5");
    else expect(await takesNoConnection(of(containers, "a"), "10.2.2.5", 8080)).toBe(true);
    expect(await bytesFrom(of(containers, "a"), "10.2.3.5", 9000)).toBe(TRANSFER_BYTES);
    // A segment takes the same way, by both families. The path is narrower than its frames: senders are told so.
    const member = of(containers, "a in lab");
    await waitFor("the segment", async () => (await pings(member, inLab("c"))) === 2);
    expect(await pings(member, labEnd6("c").address)).toBe(2);
    expect(await bytesFrom(member, inLab("c"), 9000)).toBe(TRANSFER_BYTES);
    expect(await bytesFrom(member, `[${labEnd6("c").address}]`, 9000)).toBe(TRANSFER_BYTES);
    for (const name of NAMES) expect(await pass(name, way)).toEqual([]);
  }, 60_000);

  test(`the host that carries (${text}) sees WireGuard's packets between probe addresses and nothing of what is in them`, async () => {
    const relay = of(hosts, "b").space;
    const ping = async (): Promise<void> => {
      await relay.runner.run(["ping", "-n", "-c", "1", "-W", "0.2", "192.0.2.1"], { okCodes: [0, 1] });
    };
    const isMarker = (line: string): boolean => line.includes("192.0.2.2 > 192.0.2.1: ICMP echo request");
    const capture = await Capture.start(relay, { filter: "ip", marker: ping, isMarker });
    try {
      const read = await of(containers, "a").runner.run([
        "socat",
        "-u",
        "TCP:10.2.3.5:8081,connect-timeout=10",
        "STDOUT",
      ]);
      expect(read.stdout.trim()).toBe(SECRET);
      expect(await pings(of(containers, "a in lab"), inLab("c"))).toBe(2);
      const carried = await capture.linesWith(isMarker, (line) => line.includes("10.2.1.0.6785 > 10.2.3.0.6785"));
      expect(carried.length).toBeGreaterThan(0);
      expect(capture.lines.filter((line) => / 10\.2\.[13]\.5[. ]|VXLAN|10\.9\.0\.|\.6784/.test(line))).toEqual([]);
    } finally {
      await capture.stop();
    }
  }, 60_000);
}
