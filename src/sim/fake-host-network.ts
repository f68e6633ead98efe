import { AppError, unreachable } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { HostAddress, Ipv6 } from "../model/ip6.ts";
import { cidrContains, cidrSize, formatCidr, ipv4ToNumber, isIpv4, parseCidr } from "../model/ip.ts";
import type { Clock } from "../platform/ports/clock.ts";
import { NO_ADDRESS } from "../platform/ports/host-network.ts";
import type {
  HostNetwork,
  NetworkAction,
  NetworkLink,
  NetworkRoute,
  NetworkState,
  NetworkState6,
  TunnelPeer,
  WireguardPeer,
  WireguardPeerSpec,
} from "../platform/ports/host-network.ts";

import { FakeNetwork6, FORWARD6_KEY, deviceSysctls6, isNetwork6Action } from "./fake-network6.ts";

export interface FakeUplink {
  readonly name: string;
  readonly address: Ipv4;
  readonly prefix: number;
  readonly mtu?: number;
  /** Next hop of a default route over it. */
  readonly router?: Ipv4;
}

export interface FakeHostNetworkOptions {
  readonly uplinks: readonly FakeUplink[];
  /** Whether the engine has made its filter chain. */
  readonly engineUp?: boolean;
  /** Whether its kernel has IPv6; not unless told so. */
  readonly ipv6?: boolean;
  /** How it can do WireGuard; by its kernel unless told otherwise. */
  readonly wireguardSupport?: NetworkState["wireguardSupport"];
  /** Virtual time that each call takes; without a clock calls answer in the next turn. */
  readonly clock?: Clock;
  readonly latencyMs?: number;
}

interface Link {
  readonly index: number;
  readonly kind: NetworkLink["kind"];
  up: boolean;
  mtu: number;
  mac: string;
  addresses: { readonly address: Ipv4; readonly prefix: number }[];
  readonly vxlan: NetworkLink["vxlan"];
}

type WireguardAction = Extract<NetworkAction, { kind: `${string}-wireguard${string}` }>;

interface Wireguard {
  publicKey: string;
  port: number;
  readonly peers: Map<string, WireguardPeer>;
}

/**
 * A kernel's network in memory, as strict as the kernel: a double add fails, so does deleting the missing, a route over
 * a device that is not there or down, a next hop that is not on a link, a source address that is not the host's.
 * Devices and addresses take their routes with them when they go. `toString` is its whole state.
 */
export class FakeHostNetwork implements HostNetwork {
  readonly #options: FakeHostNetworkOptions;
  readonly #links = new Map<string, Link>();
  /** By destination: the kernel has one route of metric 0 for each. */
  readonly #routes = new Map<string, NetworkRoute>();
  /** Of VXLAN devices: gateway → MAC, and MAC → underlay address, as the kernel keeps them apart. */
  readonly #neighbours = new Map<Ipv4, { readonly mac: string; readonly device: string }>();
  readonly #forwarding = new Map<string, { readonly underlay: HostAddress; readonly device: string }>();
  readonly #sysctls = new Map<string, string>([["net/ipv4/ip_forward", "0"]]);
  readonly #allowed = new Set<string>();
  readonly #wireguards = new Map<string, Wireguard>();
  readonly #watchers = new Set<() => void>();
  readonly #six = new FakeNetwork6();
  #ruleset: string | null = null;
  #engineUp: boolean;
  #nextIndex = 1;

  constructor(options: FakeHostNetworkOptions) {
    this.#options = options;
    this.#engineUp = options.engineUp ?? true;
    if (options.ipv6 === true) this.#sysctls.set(FORWARD6_KEY, "0");
    for (const { name, address, prefix, mtu, router } of options.uplinks) {
      this.#addLink(name, { kind: "other", mtu: mtu ?? 1500, mac: `02:00:00:00:00:0${this.#nextIndex}`, vxlan: null });
      this.#addAddress(name, address, prefix);
      this.#setUp(name);
      // The kernel's own, made of the MAC.
      if (options.ipv6 === true) {
        const address = `fe80::ff:fe00:${this.#nextIndex}` as Ipv6;
        this.#six.apply({ kind: "add-address6", device: name, address, prefix: 64 }, () => true);
      }
      if (router !== undefined) {
        const route = { destination: "0.0.0.0/0", via: router, device: name, source: null, mtu: null, onlink: false };
        this.#putRoute(route, false);
      }
    }
  }

  async observe(want: Parameters<HostNetwork["observe"]>[0]): Promise<NetworkState> {
    await this.#wait();
    const sysctls = want.sysctls.flatMap((key) => {
      const value = this.#sysctls.get(key);
      return value === undefined ? [] : [[key, value] as const];
    });
    return {
      links: [...this.#links].map(([name, link]) => ({ name, ...link, addresses: [...link.addresses] })),
      routes: [...this.#routes.values()],
      tunnelPeers: this.#tunnelPeers(want.tunnelDevice),
      wireguard: this.#observeWireguard(want.wireguardDevice),
      wireguardSupport: want.wireguardDevice === undefined ? null : this.#support(),
      sysctls: Object.fromEntries(sysctls),
      rulesetDigest: this.#ruleset === null ? null : (/"apollo ([0-9a-f]+) /.exec(this.#ruleset)?.[1] ?? "altered"),
      rangeAllowed: !this.#engineUp || this.#allowed.has(want.range),
      ...((want.range6 ?? null) === null ? {} : { ip6: this.#observe6(), range6Allowed: true }),
    };
  }

  async apply(action: NetworkAction): Promise<void> {
    await this.#wait();
    this.#apply(action);
    for (const watcher of this.#watchers) watcher();
  }

  async pathTo(address: HostAddress): ReturnType<HostNetwork["pathTo"]> {
    await this.#wait();
    if (!isIpv4(address)) return null;
    if ([...this.#links.values()].some((link) => link.addresses.some((entry) => entry.address === address))) {
      return { device: "lo", via: null, source: address, mtu: 65_536 };
    }
    const route = [...this.#routes.values()]
      .filter(({ destination }) => cidrContains(parseCidr(destination), address))
      .toSorted((a, b) => parseCidr(b.destination).prefix - parseCidr(a.destination).prefix)[0];
    const link = route === undefined ? undefined : this.#links.get(route.device);
    if (route === undefined || link === undefined || !link.up) return null;
    const source = route.source ?? link.addresses[0]?.address;
    return source === undefined ? null : { device: route.device, via: route.via, source, mtu: route.mtu ?? link.mtu };
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#watchers.add(onChange);
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    this.#watchers.delete(onChange);
  }

  /** What others do to the host, by the same rules; `unmarked` puts a route that is not ours. Tells the watchers. */
  disturb(
    change:
      | NetworkAction
      | { readonly kind: "put-unmarked-route"; readonly route: Omit<NetworkRoute, "marked"> }
      | { readonly kind: "flush-ruleset" }
      | { readonly kind: "set-link-down"; readonly name: string }
      | { readonly kind: "set-engine"; readonly up: boolean }
      /** A peer was heard, from `endpoint` when given. */
      | { readonly kind: "handshake"; readonly publicKey: string; readonly ageMs: number; readonly endpoint?: string },
  ): void {
    switch (change.kind) {
      case "put-unmarked-route":
        this.#putRoute(change.route, false);
        break;
      case "flush-ruleset":
        if (this.#ruleset !== null) this.#ruleset = "table inet apollo {}";
        break;
      case "set-link-down":
        this.#link(change.name).up = false;
        this.#dropRoutes((route) => route.device === change.name);
        this.#forgetNeighbours(change.name);
        break;
      case "set-engine":
        this.#engineUp = change.up;
        if (!change.up) this.#allowed.clear();
        break;
      case "handshake":
        // The kernel tells nobody of it.
        return this.#shakeHands(change);
      default:
        this.#apply(change);
    }
    for (const watcher of this.#watchers) watcher();
  }

  toString(): string {
    const links = [...this.#links].map(([name, link]) => {
      const addresses = link.addresses.map(({ address, prefix }) => ` ${address}/${prefix}`).join("");
      const { vxlan } = link;
      const tunnel = vxlan === null ? "" : ` vni ${vxlan.vni} port ${vxlan.port} local ${vxlan.local} mac ${link.mac}`;
      return `link ${name} ${link.kind} ${link.up ? "up" : "down"} mtu ${link.mtu}${addresses}${tunnel}`;
    });
    const routes = [...this.#routes.values()].map(
      (route) =>
        `route ${route.destination}${route.via === null ? "" : ` via ${route.via}`} dev ${route.device}` +
        `${route.source === null ? "" : ` src ${route.source}`}${route.mtu === null ? "" : ` mtu ${route.mtu}`}` +
        `${route.onlink ? " onlink" : ""}${route.marked ? " ours" : ""}`,
    );
    const peers = [...this.#links.keys()].flatMap((device) =>
      this.#tunnelPeers(device).map(
        ({ gateway, mac, underlay }) => `peer ${gateway} ${mac} at ${underlay} dev ${device}`,
      ),
    );
    const wireguards = [...this.#wireguards].flatMap(([device, { publicKey, port, peers: known }]) => [
      `wireguard ${device} ${publicKey} port ${port}`,
      ...[...known.values()].map(
        (peer) =>
          `wireguard ${device} peer ${peer.publicKey} at ${peer.endpoint ?? "nowhere"} ` +
          `allows ${peer.allowedIps.join(",") || "nothing"} keepalive ${peer.keepaliveSec}`,
      ),
    ]);
    const sysctls = [...this.#sysctls].map(([key, value]) => `sysctl ${key} = ${value}`);
    const allowed = [...this.#allowed].map((range) => `allowed ${range}`);
    const engine = `engine ${this.#engineUp ? "up" : "down"}`;
    const parts = [links, routes, this.#six.lines(), peers, wireguards, sysctls, allowed].flatMap((lines) =>
      lines.toSorted(),
    );
    return [...parts, engine, `ruleset ${this.#ruleset ?? "none"}`].join("\n");
  }

  #observe6(): NetworkState6 | null {
    return this.#options.ipv6 === true ? { ...this.#six.observe(), announced: [] } : null;
  }

  #apply(action: NetworkAction): void {
    if (isNetwork6Action(action)) {
      if (this.#options.ipv6 !== true) throw refusal("Operation not supported");
      return this.#six.apply(action, (device) => this.#link(device).up);
    }
    switch (action.kind) {
      case "add-bridge":
        this.#addLink(action.name, { kind: "bridge", mtu: action.mtu, mac: action.mac, vxlan: null });
        this.#addAddress(action.name, action.address, action.prefix);
        return this.#setUp(action.name);
      case "add-vxlan": {
        const { name, vni, port, local, mac, mtu } = action;
        const twin = [...this.#links.values()].some((link) => link.vxlan?.vni === vni && link.vxlan.port === port);
        if (twin) throw refusal("A VXLAN device with the specified VNI already exists.");
        this.#addLink(name, { kind: "vxlan", mtu, mac, vxlan: { vni, port, local } });
        return this.#setUp(name);
      }
      case "delete-link":
        this.#link(action.name);
        this.#links.delete(action.name);
        return this.#forgetDevice(action.name);
      case "set-link-up":
        return this.#setUp(action.name);
      case "set-link-mac":
        this.#link(action.name).mac = action.mac;
        return;
      case "set-link-mtu":
        this.#link(action.name).mtu = action.mtu;
        return;
      case "add-address":
        return this.#addAddress(action.device, action.address, action.prefix);
      case "delete-address":
        return this.#deleteAddress(action.device, action.address, action.prefix);
      case "put-route":
        return this.#putRoute(action.route, true);
      case "delete-route":
        return this.#deleteRoute(action.destination, action.device);
      case "put-tunnel-peer":
        return this.#putTunnelPeer(action.device, action.peer);
      case "delete-tunnel-peer":
        return this.#deleteTunnelPeer(action.device, action.peer);
      case "add-wireguard":
      case "set-wireguard-key":
      case "put-wireguard-peers":
      case "delete-wireguard-peers":
        return this.#applyWireguard(action);
      case "set-sysctl":
        if (!this.#sysctls.has(action.key)) throw refusal(`cannot stat /proc/sys/${action.key}`);
        this.#sysctls.set(action.key, action.value);
        return;
      case "put-ruleset":
        this.#ruleset = action.text;
        return;
      case "delete-ruleset":
        this.#ruleset = null;
        return;
      case "allow-range":
        if (!this.#engineUp) throw refusal("No chain/target/match by that name.");
        if (this.#allowed.has(action.range)) throw refusal("the rule is there already: a second would be left behind");
        this.#allowed.add(action.range);
        return;
      case "remove-allow-range":
        this.#allowed.delete(action.range);
        return;
      default:
        return unreachable(action, "network action");
    }
  }

  #support(): NetworkState["wireguardSupport"] {
    return this.#options.wireguardSupport === undefined ? "kernel" : this.#options.wireguardSupport;
  }

  #observeWireguard(device: string | undefined): NetworkState["wireguard"] {
    const found = device === undefined ? undefined : this.#wireguards.get(device);
    return found === undefined ? null : { ...found, peers: [...found.peers.values()] };
  }

  #wireguard(name: string): Wireguard {
    const found = this.#wireguards.get(name);
    if (found === undefined) throw refusal(`Unable to modify interface: No such device "${name}"`);
    return found;
  }

  /** One after the other, as the kernel does: a range that another peer has moves over. */
  #putWireguardPeers(device: Wireguard, specs: readonly WireguardPeerSpec[]): void {
    for (const { publicKey, endpoint, allowedIps, keepaliveSec } of specs) {
      // The device's own key is dropped without a word.
      if (publicKey === device.publicKey) continue;
      for (const [key, other] of device.peers) {
        const rest = other.allowedIps.filter((range) => !allowedIps.includes(range));
        if (rest.length < other.allowedIps.length) device.peers.set(key, { ...other, allowedIps: rest });
      }
      const known = device.peers.get(publicKey) ?? { handshakeAgeMs: null, receivedBytes: 0, sentBytes: 0 };
      const before = device.peers.get(publicKey)?.endpoint ?? null;
      device.peers.set(publicKey, {
        ...known,
        publicKey,
        endpoint: endpoint ?? before,
        allowedIps: [...allowedIps],
        keepaliveSec,
      });
    }
  }

  #shakeHands(change: { readonly publicKey: string; readonly ageMs: number; readonly endpoint?: string }): void {
    for (const { peers } of this.#wireguards.values()) {
      const peer = peers.get(change.publicKey);
      if (peer === undefined) continue;
      const endpoint = change.endpoint ?? peer.endpoint;
      peers.set(change.publicKey, { ...peer, handshakeAgeMs: change.ageMs, endpoint });
    }
  }

  #applyWireguard(action: WireguardAction): void {
    switch (action.kind) {
      case "add-wireguard":
        if (this.#support() === null) throw refusal("Unknown device type.");
        this.#addLink(action.name, { kind: "wireguard", mtu: action.mtu, mac: "", vxlan: null });
        this.#wireguards.set(action.name, { publicKey: action.publicKey, port: action.port, peers: new Map() });
        return this.#setUp(action.name);
      case "set-wireguard-key":
        Object.assign(this.#wireguard(action.name), { publicKey: action.publicKey, port: action.port });
        return;
      case "put-wireguard-peers":
        return this.#putWireguardPeers(this.#wireguard(action.device), action.peers);
      case "delete-wireguard-peers":
        for (const key of action.publicKeys) this.#wireguard(action.device).peers.delete(key);
        return;
    }
  }

  #link(name: string): Link {
    const link = this.#links.get(name);
    if (link === undefined) throw refusal(`Cannot find device "${name}"`);
    return link;
  }

  #addLink(name: string, link: Pick<Link, "kind" | "mtu" | "mac" | "vxlan">): void {
    if (this.#links.has(name)) throw refusal("File exists");
    this.#links.set(name, { ...link, index: this.#nextIndex++, up: false, addresses: [] });
    for (const [key, value] of this.#deviceSysctls(name)) this.#sysctls.set(key, value);
  }

  #setUp(name: string): void {
    const link = this.#link(name);
    link.up = true;
    for (const { address, prefix } of link.addresses) this.#connect(name, address, prefix);
  }

  #addAddress(device: string, address: Ipv4, prefix: number): void {
    const link = this.#link(device);
    if (link.addresses.some((entry) => entry.address === address && entry.prefix === prefix))
      throw refusal("File exists");
    link.addresses.push({ address, prefix });
    if (link.up) this.#connect(device, address, prefix);
  }

  /** The first address of a subnet is its primary: the later ones leave with it. */
  #deleteAddress(device: string, address: Ipv4, prefix: number): void {
    const link = this.#link(device);
    const index = link.addresses.findIndex((entry) => entry.address === address && entry.prefix === prefix);
    if (index < 0) throw refusal("Cannot assign requested address");
    const subnet = networkOf(address, prefix);
    const inSubnet = (entry: Link["addresses"][number]): boolean => networkOf(entry.address, entry.prefix) === subnet;
    const primary = link.addresses.findIndex(inSubnet) === index;
    const gone = link.addresses.filter((entry, at) => at === index || (primary && inSubnet(entry)));
    link.addresses = link.addresses.filter((entry) => !gone.includes(entry));
    const sources = new Set(gone.map((entry) => entry.address));
    this.#dropRoutes((route) => route.source !== null && sources.has(route.source));
  }

  #connect(device: string, source: Ipv4, prefix: number): void {
    const destination = networkOf(source, prefix);
    if (this.#routes.has(destination)) return;
    this.#routes.set(destination, { destination, via: null, device, source, mtu: null, onlink: false, marked: false });
  }

  #putRoute(route: Omit<NetworkRoute, "marked">, marked: boolean): void {
    parseCidr(route.destination);
    const link = this.#link(route.device);
    if (!link.up) throw refusal("Network is down");
    const { via, source } = route;
    const near = via === null || !isIpv4(via) ? null : via;
    if (near !== null && !route.onlink && !link.addresses.some((entry) => cidrContains(onLink(entry), near))) {
      throw refusal("Nexthop has invalid gateway.");
    }
    const own = [...this.#links.values()].flatMap(({ addresses }) => addresses.map(({ address }) => address));
    if (source !== null && !own.includes(source)) throw refusal("Invalid prefsrc address.");
    this.#routes.set(route.destination, { ...route, marked });
  }

  #deleteRoute(destination: string, device: string): void {
    const route = this.#routes.get(destination);
    if (route === undefined || route.device !== device || !route.marked) throw refusal("No such process");
    this.#routes.delete(destination);
  }

  #tunnelPeers(device: string): readonly TunnelPeer[] {
    const rest = new Map([...this.#forwarding].filter(([, entry]) => entry.device === device));
    const peers: TunnelPeer[] = [];
    for (const [gateway, { mac, device: of }] of this.#neighbours) {
      if (of !== device) continue;
      peers.push({ gateway, mac, underlay: rest.get(mac)?.underlay ?? NO_ADDRESS });
      rest.delete(mac);
    }
    for (const [mac, { underlay }] of rest) peers.push({ gateway: NO_ADDRESS, mac, underlay });
    return peers;
  }

  #putTunnelPeer(device: string, { gateway, mac, underlay }: TunnelPeer): void {
    if (this.#link(device).kind !== "vxlan") throw refusal("Operation not supported");
    if (!this.#link(device).up) throw refusal("Network is down");
    this.#neighbours.set(gateway, { mac, device });
    this.#forwarding.set(mac, { underlay, device });
  }

  #deleteTunnelPeer(device: string, { gateway, mac, underlay }: TunnelPeer): void {
    this.#link(device);
    if (gateway !== NO_ADDRESS && !this.#neighbours.delete(gateway)) throw refusal("No such file or directory");
    if (underlay !== NO_ADDRESS && !this.#forwarding.delete(mac)) throw refusal("No such file or directory");
  }

  /** A device that goes down loses its neighbours, permanent ones as well, but not its forwarding entries. */
  #forgetNeighbours(device: string): void {
    for (const [gateway, entry] of this.#neighbours) if (entry.device === device) this.#neighbours.delete(gateway);
  }

  #forgetDevice(name: string): void {
    this.#dropRoutes((route) => route.device === name);
    this.#forgetNeighbours(name);
    this.#wireguards.delete(name);
    for (const [mac, entry] of this.#forwarding) if (entry.device === name) this.#forwarding.delete(mac);
    for (const [key] of this.#deviceSysctls(name)) this.#sysctls.delete(key);
    this.#six.forget(name);
    // Addresses went with the link, and with them the routes that name them as their source.
    const own = new Set([...this.#links.values()].flatMap(({ addresses }) => addresses.map(({ address }) => address)));
    this.#dropRoutes((route) => route.source !== null && !own.has(route.source));
  }

  #dropRoutes(gone: (route: NetworkRoute) => boolean): void {
    for (const [destination, route] of this.#routes) if (gone(route)) this.#routes.delete(destination);
  }

  async #wait(): Promise<void> {
    await this.#options.clock?.sleep(this.#options.latencyMs ?? 0);
  }

  #deviceSysctls(name: string): readonly (readonly [string, string])[] {
    return this.#options.ipv6 === true ? [...deviceSysctls(name), ...deviceSysctls6(name)] : deviceSysctls(name);
  }
}

function deviceSysctls(name: string): readonly (readonly [string, string])[] {
  return [
    [`net/ipv4/conf/${name}/proxy_arp`, "0"],
    [`net/ipv4/conf/${name}/rp_filter`, "0"],
    [`net/ipv4/neigh/${name}/proxy_delay`, "80"],
  ];
}

function networkOf(address: Ipv4, prefix: number): string {
  return formatCidr(onLink({ address, prefix }));
}

function onLink({ address, prefix }: { readonly address: Ipv4; readonly prefix: number }): {
  readonly first: number;
  readonly prefix: number;
} {
  const value = ipv4ToNumber(address);
  return { first: value - (value % cidrSize({ first: 0, prefix })), prefix };
}

function refusal(what: string): AppError {
  return new AppError("unavailable", `Cannot change the network: ${what}`);
}
