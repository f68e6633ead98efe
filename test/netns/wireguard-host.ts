import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Peer } from "../../src/model/host.ts";
import type { HostId } from "../../src/model/ids.ts";
import type { HostAddress } from "../../src/model/ip6.ts";
import type { DeclaredNetwork } from "../../src/network/declared-network.ts";
import type { HostPlan, KnownNetwork } from "../../src/network/plan-host.ts";
import { planHost } from "../../src/network/plan-host.ts";
import { planLeave } from "../../src/network/plan-leave.ts";
import { NETWORK_SYSCTLS, TUNNEL } from "../../src/network/plan-network.ts";
import { NETWORK6_SYSCTLS } from "../../src/network/plan-network6.ts";
import type { RulesetPart } from "../../src/network/render-ruleset.ts";
import { WIREGUARD } from "../../src/network/wireguard/plan-wireguard.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { openKeyFile } from "../../src/platform/tls/wireguard-keys.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import type { Encryption } from "../../src/model/cluster.ts";
import type { HostKeys } from "../../src/platform/ports/host-keys.ts";
import type { NetworkAction, NetworkState } from "../../src/platform/ports/host-network.ts";
import type { Namespace, NetworkLab } from "./network-lab.ts";
import { waitFor } from "./network-lab.ts";
import { WireguardSpace } from "./wireguard-space.ts";

export const RANGE = "10.2.0.0/16";

/** A host with keys, whose passes the test makes itself. */
export class WireguardHost {
  readonly space: WireguardSpace;
  readonly name: string;
  readonly address: HostAddress;
  readonly block: string;
  readonly keys: HostKeys;
  encryption: Encryption = "required";
  /** Of containers' IPv6 addresses. */
  range6: string | null = null;
  rules: readonly RulesetPart[] = [];
  /** Networks beside the default one, and this host's blocks of them. */
  declared: readonly DeclaredNetwork[] = [];
  declaredBlocks: readonly string[] = [];
  /** What it was told of the others. */
  peers: readonly Peer[] = [];
  /** What was measured of the links to them. */
  facts: KnownNetwork["facts"] = null;
  which: (program: string) => string | null = Bun.which;
  readonly #directory = mkdtempSync(join(tmpdir(), "apollo-wg-keys-"));

  constructor(
    space: Namespace,
    host: { readonly name: string; readonly address: HostAddress; readonly block: string },
  ) {
    this.space = new WireguardSpace(space);
    this.name = host.name;
    this.address = host.address;
    this.block = host.block;
    this.keys = openKeyFile(join(this.#directory, "wireguard-keys.json"), Date.now());
  }

  peer(): Peer {
    const { name, address, block, declaredBlocks } = this;
    return { id: name as HostId, name, address, blocks: [block, ...declaredBlocks], ...this.keys.announced() };
  }

  /** A network of its own each time: nothing is remembered between passes, as when each were another agent's. */
  network(): LinuxHostNetwork {
    return new LinuxHostNetwork({
      runner: this.space.runner,
      clock: systemClock,
      privateKeyOf: (publicKey) => this.keys.privateKeyOf(publicKey),
      which: (program) => this.which(program),
    });
  }

  observe(): Promise<NetworkState> {
    const devices = { tunnelDevice: TUNNEL, wireguardDevice: WIREGUARD };
    const sysctls = [...NETWORK_SYSCTLS, ...NETWORK6_SYSCTLS];
    return this.network().observe({ sysctls, range: RANGE, range6: this.range6, ...devices });
  }

  known(): KnownNetwork {
    const { block, peers, encryption, range6, rules, declared, facts = null } = this;
    const policy = { encryption, trustedRanges: ["0.0.0.0/0"] };
    const keys = this.keys.announced();
    return { range: RANGE, range6, blocks: [block], peers, rules, declared, policy, facts, keys };
  }

  async plan(): Promise<{ readonly plan: HostPlan; readonly actions: readonly NetworkAction[] }> {
    const network = this.network();
    const paths = await Promise.all(
      this.peers.map(async ({ address }) => [address, await network.pathTo(address)] as const),
    );
    const plan = planHost(this.known(), { kernel: await this.observe(), engine: null, paths: new Map(paths) });
    const actions = plan.actions.filter(
      (action): action is NetworkAction =>
        action.kind !== "reach-engine" &&
        action.kind !== "create-engine-network" &&
        action.kind !== "remove-engine-network",
    );
    return { plan, actions };
  }

  /** One pass. `between` runs after each of its actions. */
  async pass(between: (action: NetworkAction) => Promise<void> = async () => {}): Promise<readonly NetworkAction[]> {
    const { actions } = await this.plan();
    for (const action of actions) {
      await this.network().apply(action);
      await between(action);
    }
    return actions;
  }

  async leave(): Promise<void> {
    for (const action of planLeave({ range: RANGE, range6: this.range6 }, await this.observe()))
      await this.network().apply(action);
  }

  async close(): Promise<void> {
    await this.space.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Every host is told of every other, as the server would. */
export function introduce(hosts: readonly WireguardHost[]): void {
  for (const host of hosts) host.peers = hosts.filter((other) => other !== host).map((other) => other.peer());
}

/** What one namespace's wires carry, as lines of tcpdump. */
export class Capture {
  readonly lines: string[] = [];
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;
  readonly #marker: () => Promise<void>;

  private constructor(at: Namespace, filter: string, marker: () => Promise<void>) {
    const argv = ["tcpdump", "-n", "-l", "--immediate-mode", "-q", "-i", "any", filter];
    this.#running = at.runner.follow(argv, (line) => void this.lines.push(line), this.#stop.signal);
    this.#marker = marker;
  }

  /** Resolves when it sees packets. `marker` sends one that `filter` lets through and `isMarker` knows. */
  static async start(
    at: Namespace,
    { filter, marker, isMarker }: { filter: string; marker: () => Promise<void>; isMarker: (line: string) => boolean },
  ): Promise<Capture> {
    const capture = new Capture(at, filter, marker);
    await capture.#settle(isMarker);
    capture.lines.length = 0;
    return capture;
  }

  /** Lines that hold one of the texts; all that was sent before the call is in. */
  async linesWith(
    isMarker: (line: string) => boolean,
    isWanted: (line: string) => boolean,
  ): Promise<readonly string[]> {
    await this.#settle(isMarker);
    return this.lines.filter(isWanted);
  }

  async #settle(isMarker: (line: string) => boolean): Promise<void> {
    const before = this.lines.filter(isMarker).length;
    await waitFor("a marker in the capture", async () => {
      await this.#marker();
      return this.lines.filter(isMarker).length > before;
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

/** Hosts on one wire, with a switch in the middle whose ports are named `to-HOST`. */
export async function addSwitch(lab: NetworkLab, address: string): Promise<Namespace> {
  const middle = await lab.addNamespace("lan");
  await middle.runner.run(["ip", "link", "add", "lan", "type", "bridge"]);
  await middle.runner.run(["ip", "address", "add", address, "dev", "lan"]);
  await middle.runner.run(["ip", "link", "set", "lan", "up"]);
  return middle;
}
