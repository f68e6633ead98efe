/** Hosts with keys, by name, and containers on them as Docker makes them: what tests of both families set up alike. */
import type { Ipv4 } from "../../src/model/ip.ts";
import type { Cidr6, HostAddress, Ipv6 } from "../../src/model/ip6.ts";
import { address6Of, gateway6Of, host6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import type { Namespace, NetworkLab } from "./network-lab.ts";
import { found } from "./network-lab.ts";
import { WireguardHost, introduce } from "./wireguard-host.ts";

export interface WireguardHostsOptions<Name extends string> {
  readonly lab: NetworkLab;
  readonly places: Readonly<Record<Name, { readonly address: HostAddress; readonly block: string }>>;
  /** Of containers' IPv6 addresses; null: they have none. */
  readonly range6: string | null;
}

export class WireguardHosts<Name extends string> {
  readonly names: readonly Name[];
  readonly #options: WireguardHostsOptions<Name>;
  readonly #hosts = new Map<Name, WireguardHost>();

  constructor(names: readonly Name[], options: WireguardHostsOptions<Name>) {
    this.names = names;
    this.#options = options;
  }

  get(name: Name): WireguardHost {
    return found(this.#hosts.get(name), `host ${name}`);
  }

  /** Without encryption; the test gives it its wire. */
  async add(name: Name): Promise<WireguardHost> {
    const { lab, places, range6 } = this.#options;
    const made = new WireguardHost(await lab.addNamespace(name), { name, ...places[name] });
    made.encryption = "off";
    made.range6 = range6;
    this.#hosts.set(name, made);
    return made;
  }

  /** Every host is told of every other. */
  introduce(): void {
    introduce([...this.#hosts.values()]);
  }

  /** What a device made in one pass needs comes with the next: two of each host. */
  async settle(): Promise<void> {
    for (const name of [...this.names, ...this.names]) await this.get(name).pass();
  }

  /** With the host's part of the IPv6 range on its wire, and its gateway for everything else. */
  async addContainer(on: Name, name: string, address: Ipv4): Promise<Namespace> {
    const made = await this.#options.lab.addContainer(this.get(on).space, name, address);
    if (this.#options.range6 === null) return made;
    await made.runner.run(["ip", "address", "add", `${this.address6(on, address)}/96`, "dev", "eth0", "nodad"]);
    await made.runner.run(["ip", "route", "add", "default", "via", this.gateway6(on)]);
    return made;
  }

  gateway(name: Name): Ipv4 {
    return gatewayOf([this.#options.places[name].block]);
  }

  gateway6(name: Name): Ipv6 {
    return gateway6Of(this.#range6(), this.gateway(name));
  }

  /** The host's part of the IPv6 range. */
  part6(name: Name): Cidr6 {
    return host6Of(this.#range6(), this.gateway(name));
  }

  /** What a container of the host with this IPv4 address has beside it. */
  address6(name: Name, address: Ipv4): Ipv6 {
    return address6Of(this.part6(name), address);
  }

  async close(): Promise<void> {
    for (const host of this.#hosts.values()) await host.close();
  }

  #range6(): string {
    return found(this.#options.range6, "IPv6 range");
  }
}
