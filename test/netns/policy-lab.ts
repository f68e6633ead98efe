/** Two hosts with containers of three apps, and the rules that say who may talk to whom: for the tests of both families. */
import { expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Holder } from "../../src/model/holder.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import type { PolicyRule } from "../../src/model/network-config.ts";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { BRIDGE } from "../../src/network/plan-network.ts";
import type { PolicyPlan } from "../../src/network/policy/plan-policy.ts";
import { planPolicy } from "../../src/network/policy/plan-policy.ts";
import { planPolicy6 } from "../../src/network/policy/plan-policy6.ts";
import { renderPolicy } from "../../src/network/policy/render-policy.ts";
import { joinParts, renderPolicy6 } from "../../src/network/policy/render-policy6.ts";
import { SPOOF_COUNTERS, renderSourceCheck } from "../../src/network/policy/render-source-check.ts";
import type { RulesetPart } from "../../src/network/render-ruleset.ts";
import { LinuxRuleCounters } from "../../src/platform/linux/rule-counters.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, found, waitFor } from "./network-lab.ts";
import { WireguardHosts } from "./wireguard-hosts.fixture.ts";

const HOSTS = {
  a: { address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  b: { address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
} as const;
export type HostName = keyof typeof HOSTS;
export const HOST_NAMES = ["a", "b"] as const;
/** By name: host, address, app. */
export const CONTAINERS = {
  weba: { host: "a", address: parseIpv4("10.2.1.5"), app: "/web" },
  dba: { host: "a", address: parseIpv4("10.2.1.6"), app: "/db" },
  eva: { host: "a", address: parseIpv4("10.2.1.7"), app: "/eve" },
  webb: { host: "b", address: parseIpv4("10.2.2.5"), app: "/web" },
  evb: { host: "b", address: parseIpv4("10.2.2.7"), app: "/eve" },
} as const;
export type ContainerName = keyof typeof CONTAINERS;
const NAMES = Object.keys(CONTAINERS) as ContainerName[];

export interface Want {
  readonly rules?: readonly PolicyRule[];
  readonly policy?: "open" | "deny";
  /** Containers whose ports the host does not know (yet). */
  readonly unknown?: readonly ContainerName[];
}

export const rule = (value: object): PolicyRule => parseNetworkObject("policy", value);

export class PolicyLab extends NetworkLab {
  readonly hosts: WireguardHosts<HostName>;
  readonly #dual: boolean;
  readonly #macs = new Map<ContainerName, string>();
  readonly #frames = mkdtempSync(join(tmpdir(), "apollo-frames-"));

  /** `range6`: containers have IPv6 addresses of it. */
  constructor(name: string, range6: string | null) {
    super(name);
    this.#dual = range6 !== null;
    this.hosts = new WireguardHosts(HOST_NAMES, { lab: this, places: HOSTS, range6 });
  }

  /** Hosts in an open network, with all containers; `serve` starts what runs in each. */
  async open(serve: (container: Namespace) => Promise<void>): Promise<void> {
    for (const name of HOST_NAMES) await this.hosts.add(name);
    const end = (name: HostName) => ({ at: this.space(name), device: "eth0", address: `${HOSTS[name].address}/24` });
    await this.wire(end("a"), end("b"));
    this.hosts.introduce();
    await this.enforce({});
    for (const name of NAMES) {
      const { host, address } = CONTAINERS[name];
      const made = await this.hosts.addContainer(host, name, address);
      const { stdout } = await made.runner.run(["cat", "/sys/class/net/eth0/address"]);
      this.#macs.set(name, stdout.trim());
      await serve(made);
    }
  }

  override async close(): Promise<void> {
    await this.hosts.close();
    await super.close();
    rmSync(this.#frames, { recursive: true });
  }

  mac(name: ContainerName): string {
    return found(this.#macs.get(name), `MAC of ${name}`);
  }

  address6(name: ContainerName): Ipv6 {
    const { host, address } = CONTAINERS[name];
    return this.hosts.address6(host, address);
  }

  async enforce(want: Want): Promise<void> {
    for (const name of HOST_NAMES) await this.pass(name, want);
  }

  /** One pass of one host. Returns how many actions it took. */
  async pass(name: HostName, want: Want): Promise<number> {
    const { policy = "open", unknown = [] } = want;
    const known = this.#portsOf(name).filter(({ container }) => !unknown.some((each) => each === container));
    const strict = policy === "deny" ? [{ name: "apollo", bridge: BRIDGE }] : [];
    const host = this.hosts.get(name);
    host.rules = [...this.#policyParts(name, want), renderSourceCheck(known, strict)];
    return (await host.pass()).length;
  }

  planFor(host: HostName, { rules = [], policy = "open" }: Want): PolicyPlan {
    const hostAddresses = HOST_NAMES.flatMap((name) => [HOSTS[name].address, this.hosts.gateway(name)]);
    const networks = [{ name: "apollo", bridge: BRIDGE, policy }];
    return planPolicy({ networks, rules, holders: NAMES.map((name) => this.#holderOf(name)), hostAddresses, host });
  }

  /** What a host refused, by counter. */
  refusedAt(host: HostName): Promise<ReadonlyMap<string, number>> {
    return this.countersOf(host).packets();
  }

  countersOf(host: HostName): LinuxRuleCounters {
    return new LinuxRuleCounters({ runner: this.space(host).runner });
  }

  /** Frames from containers of host a that were not what they said. */
  async spoofed(kind: keyof typeof SPOOF_COUNTERS): Promise<number> {
    return (await this.refusedAt("a")).get(SPOOF_COUNTERS[kind]) ?? 0;
  }

  /** A frame is counted a moment after it was sent; that no more of them are, a further one that is let through shows. */
  async expectSpoofed(kind: keyof typeof SPOOF_COUNTERS, count: number): Promise<void> {
    await waitFor(`${count} refusals`, async () => (await this.spoofed(kind)) >= count);
    expect(await this.spoofed(kind)).toBe(count);
  }

  /** Sends one frame as it is, whatever the kernel of the container thinks of it. */
  async sendFrame(from: ContainerName, hex: string): Promise<void> {
    const file = join(this.#frames, `${hex.length}-${from}`);
    await Bun.write(file, Buffer.from(hex, "hex"));
    await this.space(from).runner.run(["socat", "-u", `FILE:${file}`, "INTERFACE:eth0"]);
  }

  #policyParts(name: HostName, want: Want): readonly RulesetPart[] {
    const plan = this.planFor(name, want);
    const four = renderPolicy(plan);
    if (four === null) return [];
    if (!this.#dual) return [four];
    const pairs = [
      ...NAMES.map((each) => ({ address: CONTAINERS[each].address, address6: this.address6(each) })),
      ...HOST_NAMES.map((each) => ({ address: this.hosts.gateway(each), address6: this.hosts.gateway6(each) })),
    ];
    return [joinParts(four, renderPolicy6(planPolicy6(plan, pairs)))];
  }

  #holderOf(name: ContainerName): Holder {
    const { host, address, app } = CONTAINERS[name];
    const owner = { network: "apollo", host, container: name, instance: null, app, services: [app.slice(1)] };
    return { id: `${host}:${name}:apollo`, address, ...this.#sixOf(name), ...owner, labels: {} };
  }

  #sixOf(name: ContainerName): { readonly address6?: Ipv6 } {
    return this.#dual ? { address6: this.address6(name) } : {};
  }

  /** Those that have been made. */
  #portsOf(host: HostName): readonly LocalPort[] {
    return NAMES.filter((name) => CONTAINERS[name].host === host && this.#macs.has(name)).map((name, index) => ({
      network: "apollo",
      device: `veth-${name}`,
      index,
      mac: this.mac(name),
      addresses: [CONTAINERS[name].address],
      ...(this.#dual ? { addresses6: [this.address6(name)] } : {}),
      container: name,
    }));
  }
}

/** As it stands in a frame. */
export function hexOfMac(mac: string): string {
  return mac.replaceAll(":", "");
}
