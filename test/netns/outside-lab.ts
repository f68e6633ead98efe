/** Two hosts that share a wire with a client outside, which knows nothing of the container range: for either family. */
import type { Endpoint } from "../../src/model/endpoint.ts";

import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { formatEndpoint, parseIpv6 } from "../../src/model/ip6.ts";
import type { NetworkConfig } from "../../src/model/network-config.ts";
import { address6Of, gateway6Of, host6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import { NetworkLab, found, waitFor } from "./network-lab.ts";
import type { ServedAt } from "./outside.fixture.ts";
import { OutsideHosts, served } from "./outside.fixture.ts";

const PLACES = {
  a: { name: "a", address: parseIpv4("192.0.2.1"), address6: "2001:db8:1::1", block: "10.2.1.0/24" },
  b: { name: "b", address: parseIpv4("192.0.2.2"), address6: "2001:db8:1::2", block: "10.2.2.0/24" },
} as const;
type HostName = keyof typeof PLACES;
const HOST_NAMES = ["a", "b"] as const;
export const HOST6 = { a: PLACES.a.address6, b: PLACES.b.address6 } as const;
export const CLIENT = "192.0.2.254";
export const CLIENT6 = "2001:db8:1::254";
export const VIP = parseIpv4("10.3.0.7");
/** By name, which begins with that of the host. */
export const CONTAINERS = { a5: "10.2.1.5", a6: "10.2.1.6", b5: "10.2.2.5" } as const;
export type ContainerName = keyof typeof CONTAINERS;
const NAMES = ["a5", "a6", "b5"] as const;

export interface Answer {
  /** Which client the server sees. */
  readonly client: string;
  /** Which address it has itself. */
  readonly server: string;
}

export class OutsideLab extends NetworkLab {
  readonly #range6: string | null;
  #hosts: OutsideHosts | null = null;

  /** `range6`: containers have IPv6 addresses of it, and hosts and client have some of their own. */
  constructor(name: string, range6: string | null) {
    super(name);
    this.#range6 = range6;
  }

  /** Each container says on TCP port 8080 whom it sees, and on UDP port 5353 its name. */
  async open(): Promise<void> {
    await this.#addClient();
    for (const name of HOST_NAMES) await this.#addHost(name);
    const spaces = new Map(HOST_NAMES.map((name) => [name, this.space(name)]));
    this.#hosts = new OutsideHosts(Object.values(PLACES), spaces, this.#range6);
    for (const name of HOST_NAMES) await waitFor(`the bridge of ${name}`, () => this.#hasBridge(name));
    for (const name of NAMES) await this.#addContainer(name);
    this.#tellPorts();
  }

  override async close(): Promise<void> {
    await this.#hosts?.close();
    await super.close();
  }

  get hosts(): OutsideHosts {
    return found(this.#hosts, "host that runs");
  }

  /** Tells all hosts, and resolves when each says that it serves this. */
  declare(endpoints: readonly Endpoint[], config: Partial<NetworkConfig>): Promise<void> {
    return this.hosts.declare(endpoints, config);
  }

  gateway6(host: HostName): Ipv6 {
    return gateway6Of(this.#wanted6(), gatewayOf([PLACES[host].block]));
  }

  address6(name: ContainerName): Ipv6 {
    return address6Of(host6Of(this.#wanted6(), gatewayOf([PLACES[hostOf(name)].block])), parseIpv4(CONTAINERS[name]));
  }

  web(name: ContainerName, more: Partial<Endpoint> = {}): Endpoint {
    return served("web", this.at(name, 8080), more);
  }

  dns(name: ContainerName): Endpoint {
    return served("dns", this.at(name, 5353), { protocol: "udp" });
  }

  /** Where a service of that container is. */
  at(name: ContainerName, port: number): ServedAt {
    const six = this.#range6 === null ? {} : { address6: this.address6(name) };
    return { host: hostOf(name), address: parseIpv4(CONTAINERS[name]), port, ...six };
  }

  /** What the server says of the connection; null: refused or silent. */
  async ask(from: string, address: string, port: number): Promise<Answer | null> {
    const argv = ["socat", "-u", "-T10", `TCP:${formatEndpoint(address, port)},connect-timeout=10`, "STDOUT"];
    const { code, stdout } = await this.space(from).runner.run(argv, { okCodes: [0, 1] });
    const [client = "", server = ""] = stdout.trim().split("\n").map(shorten);
    return code === 0 && client !== "" ? { client, server } : null;
  }

  /** The servers that answered `times` connections. */
  async servers(from: string, to: { readonly address: string; readonly port: number }, times: number) {
    const answers = new Set<string>();
    for (let turn = 0; turn < times; turn++) {
      answers.add((await this.ask(from, to.address, to.port))?.server ?? "nobody");
    }
    return answers;
  }

  /** Always from the same port, so that the kernel takes it for the same flow. It ends with the answer, a name of two letters. */
  async askUdp(from: string, address: string, port: number): Promise<string> {
    const target = `UDP:${formatEndpoint(address, port)},sourceport=4000,reuseaddr,readbytes=3`;
    const argv = ["socat", "-t1", "-T1", "-", target];
    const { stdout } = await this.space(from).runner.run(argv, { stdin: "?\n", okCodes: [0, 1] });
    return stdout.trim();
  }

  async refusal(from: string, address: string, port: number): Promise<string> {
    const argv = ["socat", "-", `TCP:${formatEndpoint(address, port)},connect-timeout=5`];
    const result = await this.space(from).runner.run(argv, { okCodes: [0, 1] });
    return /Connection refused|timed out|No route/.exec(result.stderr)?.[0] ?? "";
  }

  async #addClient(): Promise<void> {
    const { runner } = await this.addNamespace("client");
    await runner.run(["ip", "link", "add", "lan", "type", "bridge"]);
    await runner.run(["ip", "address", "add", `${CLIENT}/24`, "dev", "lan"]);
    if (this.#range6 !== null) await runner.run(["ip", "address", "add", `${CLIENT6}/64`, "dev", "lan", "nodad"]);
    await runner.run(["ip", "link", "set", "lan", "up"]);
  }

  async #addHost(name: HostName): Promise<void> {
    const client = this.space("client");
    const host = await this.addNamespace(name);
    const { address, address6 } = PLACES[name];
    await this.wire({ at: host, device: "eth0", address: `${address}/24` }, { at: client, device: `to-${name}` });
    await client.runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    await host.runner.run(["ip", "route", "add", "default", "via", CLIENT]);
    if (this.#range6 === null) return;
    await host.runner.run(["ip", "address", "add", `${address6}/64`, "dev", "eth0", "nodad"]);
    await host.runner.run(["ip", "route", "add", "default", "via", CLIENT6]);
  }

  async #hasBridge(name: HostName): Promise<boolean> {
    const to = this.#range6 === null ? gatewayOf([PLACES[name].block]) : this.gateway6(name);
    const argv = ["ip", "address", "show", "dev", "apollo0", "to", to];
    const { code, stdout } = await this.space(name).runner.run(argv, { okCodes: [0, 1] });
    return code === 0 && stdout.includes(to);
  }

  async #addContainer(name: ContainerName): Promise<void> {
    const made = await this.addContainer(this.space(hostOf(name)), name, CONTAINERS[name]);
    // A program that does not read what it is asked may have ended before socat writes that, and its answer is lost then.
    const answer = `EXEC:sed -u s/.*/${name}/;q`;
    if (this.#range6 === null) {
      await this.serve(made, 8080, "printenv SOCAT_PEERADDR SOCAT_SOCKADDR");
      this.start(made, ["socat", "-t5", "UDP-RECVFROM:5353,fork,reuseaddr", answer]);
    } else {
      const { runner } = made;
      await runner.run(["ip", "address", "add", `${this.address6(name)}/96`, "dev", "eth0", "nodad"]);
      await runner.run(["ip", "route", "add", "default", "via", this.gateway6(hostOf(name))]);
      await this.serveBoth(made, 8080, "printenv SOCAT_PEERADDR SOCAT_SOCKADDR");
      this.start(made, ["socat", "-t5", "UDP6-RECVFROM:5353,fork,reuseaddr", answer]);
    }
    await this.listens(made, "-Hlun", 5353);
  }

  /** As the part for ports sees them. */
  #tellPorts(): void {
    for (const [host, state] of this.hosts.states) {
      const ports = NAMES.filter((name) => hostOf(name) === host).map((name, index) => ({
        network: "apollo",
        device: `veth-${name}`,
        index,
        mac: "",
        addresses: [parseIpv4(CONTAINERS[name])],
        container: name,
      }));
      state.setPorts("engine", ports);
    }
  }

  #wanted6(): string {
    return found(this.#range6, "IPv6 range");
  }
}

function hostOf(name: ContainerName): HostName {
  return name.startsWith("a") ? "a" : "b";
}

/** socat prints all eight groups of an IPv6 address, in brackets. */
function shorten(text: string): string {
  return text.startsWith("[") ? parseIpv6(text.replaceAll(/[[\]]/g, "")) : text;
}
