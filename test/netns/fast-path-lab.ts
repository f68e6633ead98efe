/**
 * Three hosts with a container each and the fast path between them: a and b share a wire, c is behind a router. Everything
 * from namespaces, the real kernel network and the real programs.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { buildFastPath } from "../../tools/build-fast-path.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import { chooseLinkMode } from "../../src/network/choose-link-mode.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { bridgeMac } from "../../src/network/mac.ts";
import type { DesiredFastPath } from "../../src/network/plan-fast-path.ts";
import { planFastPath } from "../../src/network/plan-fast-path.ts";
import type { DesiredNetwork, DesiredPeer } from "../../src/network/plan-network.ts";
import { BRIDGE, NETWORK_SYSCTLS, TUNNEL, planNetwork } from "../../src/network/plan-network.ts";
import { renderRuleset } from "../../src/network/render-ruleset.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxFastPath } from "../../src/platform/linux/fast-path/linux-fast-path.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { FastPathAction } from "../../src/platform/ports/fast-path.ts";
import type { Runner } from "../../src/platform/ports/runner.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab } from "./network-lab.ts";

export const RANGE = "10.2.0.0/16";
export const HOSTS = {
  a: { address: parseIpv4("192.0.2.1"), prefix: 24, block: "10.2.1.0/24", container: parseIpv4("10.2.1.5") },
  b: { address: parseIpv4("192.0.2.2"), prefix: 24, block: "10.2.2.0/24", container: parseIpv4("10.2.2.5") },
  c: { address: parseIpv4("198.51.100.3"), prefix: 24, block: "10.2.3.0/24", container: parseIpv4("10.2.3.5") },
} as const;
export type HostName = keyof typeof HOSTS;
export const HOST_NAMES = ["a", "b", "c"] as const;

const PASSES_MAX = 5;

export interface FastHost {
  readonly space: Namespace;
  readonly container: Namespace;
  readonly network: LinuxHostNetwork;
  readonly fastPath: LinuxFastPath;
  readonly desired: DesiredFastPath;
  /** Where its programs are pinned. */
  readonly directory: string;
}

export class FastPathLab {
  readonly lab: NetworkLab;
  readonly #object: string;
  readonly #hosts = new Map<HostName, FastHost>();
  #router: Namespace | null = null;

  constructor(name: string) {
    this.lab = new NetworkLab(name);
    this.#object = join(tmpdir(), `apollo-fast-path-${name}-${process.pid}.o`);
  }

  host(name: HostName): FastHost {
    const found = this.#hosts.get(name);
    if (found === undefined) throw new Error(`There is no host ${name}`);
    return found;
  }

  /** Between the wire of a and b and that of c. */
  get router(): Namespace {
    if (this.#router === null) throw new Error("The lab is not up");
    return this.#router;
  }

  /** The kernel's own network first, as the agent has it; nothing of the fast path yet. */
  async up(): Promise<void> {
    await buildFastPath(this.#object);
    const fabric = await this.lab.addNamespace("fabric");
    this.#router = fabric;
    await fabric.runner.run(["ip", "-batch", "-"], {
      stdin: [
        "link add seg1 type bridge forward_delay 0 stp_state 0",
        "link set seg1 up",
        // The router plugs in as a host does: the kernel cuts tunnel packets to wire size on their way to a bridge's own device.
        "link add gw1 type veth peer name port1",
        "link set port1 master seg1 up",
        "address add 192.0.2.254/24 dev gw1",
        "link set gw1 up",
        "",
      ].join("\n"),
    });
    await fabric.runner.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
    for (const name of HOST_NAMES) await this.#addHost(name, fabric);
    for (const name of HOST_NAMES) await this.#connect(name);
  }

  /** A second agent of the host: nothing in its hands but what the first left in the kernel. */
  anotherAgent(name: HostName): LinuxFastPath {
    const { space, directory } = this.host(name);
    return this.#fastPath(space, directory);
  }

  /** Passes until nothing is left to do. Returns all that was done. */
  async converge(
    name: HostName,
    change: Partial<DesiredFastPath> = {},
    fastPath: LinuxFastPath = this.host(name).fastPath,
  ): Promise<readonly FastPathAction[]> {
    const done: FastPathAction[] = [];
    await fastPath.open();
    for (let pass = 0; pass < PASSES_MAX; pass++) {
      const actions = planFastPath({ ...this.host(name).desired, ...change }, await fastPath.observe());
      if (actions.length === 0) return done;
      for (const action of actions) await fastPath.apply(action);
      done.push(...actions);
    }
    throw new Error(`The fast path of ${name} does not settle: ${JSON.stringify(done.slice(-3))}`);
  }

  async close(): Promise<void> {
    const removed = await Promise.allSettled([...this.#hosts.values()].map(({ fastPath }) => fastPath.remove()));
    await this.lab.close();
    rmSync(this.#object, { force: true });
    for (const result of removed) if (result.status === "rejected") throw result.reason;
  }

  /** Mounts are the machine's: "ip netns exec" would make them in a view of its own, gone with the command. */
  runnerOf(space: Namespace): Runner {
    const outside = new ProcessRunner();
    return {
      run: (argv, options) => (argv[0] === "mount" || argv[0] === "umount" ? outside : space.runner).run(argv, options),
    };
  }

  /** The same programs in a file that differs: what an update of Apollo brings. */
  async otherRelease(): Promise<Uint8Array> {
    const object = await Bun.file(this.#object).bytes();
    return Uint8Array.of(...object, 0);
  }

  #fastPath(space: Namespace, directory: string): LinuxFastPath {
    return new LinuxFastPath({
      runner: this.runnerOf(space),
      directory,
      object: () => Bun.file(this.#object).bytes(),
    });
  }

  async #addHost(name: HostName, fabric: Namespace): Promise<void> {
    const { address, prefix, container } = HOSTS[name];
    const space = await this.lab.addNamespace(name);
    const router = name === "c" ? "198.51.100.254" : "192.0.2.254";
    const far = name === "c" ? { address: `${router}/24` } : {};
    await this.lab.wire(
      { at: space, device: "eth0", address: `${address}/${prefix}` },
      { at: fabric, device: `to-${name}`, ...far },
    );
    if (name !== "c") await fabric.runner.run(["ip", "link", "set", `to-${name}`, "master", "seg1"]);
    await space.runner.run(["ip", "route", "add", "default", "via", router]);
    const network = new LinuxHostNetwork({ runner: space.runner, clock: systemClock });
    const directory = join(tmpdir(), `apollo-bpf-${space.name}`);
    const own = { space, network, directory, fastPath: this.#fastPath(space, directory) };
    // The container needs the bridge; the rest of the host's network comes when all hosts are there.
    await settleNetwork(network, { ...(await this.#desireNetwork(name, network, [])) });
    const inside = await this.lab.addContainer(space, `c${name}`, container);
    this.#hosts.set(name, { ...own, container: inside, desired: await this.#desire(name, own, inside) });
  }

  async #connect(name: HostName): Promise<void> {
    const host = this.host(name);
    const others = HOST_NAMES.filter((other) => other !== name);
    const network = await this.#desireNetwork(name, host.network, others);
    await settleNetwork(host.network, network);
    this.#hosts.set(name, { ...host, desired: { ...host.desired, peers: network.peers } });
  }

  async #desire(name: HostName, { space }: { space: Namespace }, container: Namespace): Promise<DesiredFastPath> {
    const { block, container: address } = HOSTS[name];
    const device = `veth-c${name}`;
    const index = Number((await space.runner.run(["cat", `/sys/class/net/${device}/ifindex`])).stdout);
    const mac = (await container.runner.run(["cat", "/sys/class/net/eth0/address"])).stdout.trim();
    const port: LocalPort = { network: "apollo", device, index, mac, addresses: [address], container: `c${name}` };
    const gatewayMac = bridgeMac(gatewayOf([block]));
    return { blocks: [block], gatewayMac, ports: [port], peers: [], slow: [], virtual: [] };
  }

  async #desireNetwork(
    name: HostName,
    network: LinuxHostNetwork,
    others: readonly HostName[],
  ): Promise<DesiredNetwork> {
    const peers = await Promise.all(
      others.map(async (other): Promise<DesiredPeer> => {
        const { address, block } = HOSTS[other];
        const link = chooseLinkMode(address, await network.pathTo(address), RANGE);
        if (link.mode === "none" || link.mode === "relay")
          throw new Error(`${name} cannot reach ${other}: ${link.why}`);
        const { mode, mtu, path } = link;
        return {
          gateway: gatewayOf([block]),
          underlay: address,
          blocks: [block],
          mode,
          mtu,
          device: path.device,
          source: path.source,
        };
      }),
    );
    const tunnelled = peers.filter(({ mode }) => mode === "vxlan");
    return {
      range: RANGE,
      gateway: gatewayOf([HOSTS[name].block]),
      bridgeMtu: 1500,
      tunnel: tunnelled.length === 0 ? null : { local: HOSTS[name].address, mtu: 1450 },
      peers,
      ruleset: renderRuleset({ range: RANGE, bridge: BRIDGE, parts: [] }),
    };
  }
}

async function settleNetwork(network: LinuxHostNetwork, desired: DesiredNetwork): Promise<void> {
  for (let pass = 0; pass < PASSES_MAX; pass++) {
    const observed = await network.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
    // There is no engine in these hosts, and so nobody who would make its chain.
    const actions = planNetwork(desired, observed).filter(({ kind }) => kind !== "allow-range");
    if (actions.length === 0) return;
    for (const action of actions) await network.apply(action);
  }
  throw new Error("The network does not settle");
}
