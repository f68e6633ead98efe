import type { Upstream } from "../discovery/dns/choose-upstreams.ts";
import { DnsServer, type KeepAnswers } from "../discovery/dns/dns-server.ts";
import { Forwarder } from "../discovery/dns/forwarder.ts";
import { type Zone, buildZone } from "../discovery/dns/zone.ts";
import { DEFAULT_CONTAINER_DOMAIN } from "../model/cluster.ts";
import { indexQueries } from "../discovery/registry/query-lookup.ts";
import { DEFAULT_DNS, type DnsSettings } from "../model/dns-settings.ts";
import type { CatalogHost } from "../model/endpoint.ts";
import { virtualAddresses } from "../network/virtual-addresses.ts";
import { AppError } from "../model/error.ts";
import { type Ipv4, cidrContains, isIpv4, parseCidr, parseIpv4 } from "../model/ip.ts";
import { type HostAddress, type Ipv6, isIpv6, parseCidr6, parseIpv6 } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import { ENGINE_NETWORK } from "../network/plan-engine-network.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { KernelAnswers } from "../platform/ports/kernel-answers.ts";
import type { Binding, DatagramClient, Listener } from "../platform/ports/listener.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { AgentIdentity, AgentPart, AgentState } from "./agent-state.ts";
import type { CatalogTracker } from "./catalog-tracker.ts";
import { HostAnswers } from "./host-answers.ts";
import type { HostResolver } from "./resolver-file.ts";

export interface DnsPartOptions {
  readonly state: AgentState;
  readonly listener: Listener;
  readonly datagrams: DatagramClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Address of the bridge, null while there is none. */
  readonly gateway: () => Ipv4 | null;
  /** Its IPv6 address; null or missing while it has none. */
  readonly gateway6?: () => Ipv6 | null;
  readonly resolver: HostResolver;
  /** Domains that the host's own search list gains; none by default. */
  readonly search?: readonly string[];
  /** Gives containers and this host answers without us; null or missing where there is no such thing. */
  readonly kernel?: KernelAnswers | null;
  /** Ports to serve on; a test that is not root chooses others. `loopback` null: only the gateway's address. */
  readonly ports?: { readonly gateway: number; readonly loopback: number | null; readonly upstream: number };
}

const LOOPBACK = parseIpv4("127.0.0.1");
const LOOPBACK6 = parseIpv6("::1");
const DNS_PORT = 53;
/** Where Consul's agent answers, for clients that know it there. */
const CONSUL_DNS_PORT = 8600;
/** The bridge comes with the first network pass; until then its address is not there to bind. */
const BIND_RETRY_MS = 500;
/** Containers wait for our DNS so many passes; then they are started without it, and a condition tells of that. */
const UNBOUND_PASSES_MAX = 6;
/** How soon a rewritten resolv.conf (DHCP lease, another program) gets our line back. */
const RESYNC_MS = 10_000;

/** Answers the names of the cluster on this host, and forwards all others. */
export function createDnsPart(options: DnsPartOptions): AgentPart {
  options.state.setResolverAt(null);
  return { name: "dns", run: (signal) => new DnsPart(options).run(signal) };
}

class DnsPart {
  readonly #options: DnsPartOptions;
  readonly #server: DnsServer;
  readonly #bindings = new Map<string, readonly Binding[]>();
  readonly #tracker: CatalogTracker;
  #zone: Zone | null = null;
  /** The identity that the zone was made for. */
  #zoneKey = "";
  /** What the zone holds of this host's own. */
  #localIds: readonly string[] = [];
  #hosts: readonly CatalogHost[] = [];
  #consul: AgentState["consul"] = null;
  #conditions = "";
  #nap = new AbortController();
  /** The gateway's address as the last pass began. */
  #seenGateway: Ipv4 | null = null;
  /** Passes in a row after which it was not ours to answer at. */
  #unboundPasses = 0;
  /** Addresses of containers whose questions the kernel may answer. */
  #fastClients: ReadonlySet<string> = new Set();
  readonly #hostAnswers: HostAnswers;
  readonly #keep: KeepAnswers = (question, answers) => this.#options.kernel?.put(question, answers);

  constructor(options: DnsPartOptions) {
    this.#options = options;
    const { clock, random, datagrams, state } = options;
    this.#tracker = state.trackCatalog();
    const forwarder = new Forwarder({
      clock,
      random,
      datagrams,
      upstreams: () => this.#upstreams(),
      own: () => this.#addresses().flatMap(({ address, port }) => (isIpv4(address) ? [{ address, port }] : [])),
      settings: () => dnsSettings(state.identity),
    });
    this.#server = new DnsServer({ random, zone: () => this.#zone, forwarder });
    this.#hostAnswers = new HostAnswers({ kernel: options.kernel ?? null, datagrams, log: options.log });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, resolver } = this.#options;
    // Zone updates are done where the news arrives: they cost what changed, and every answer after is true.
    const stops = (["identity", "catalog", "assignments", "network-config", "consul"] as const).map((topic) =>
      state.on(topic, () => this.#follow()),
    );
    const ends = (["ports", "slow"] as const).map((topic) => state.on(topic, () => this.#noteClients()));
    stops.push(state.on("conditions", () => this.#seeGateway()));
    const wake = (): void => this.#nap.abort();
    signal.addEventListener("abort", wake);
    this.#noteClients();
    await resolver.refresh();
    this.#follow();
    await this.#keepBound(signal);
    signal.removeEventListener("abort", wake);
    for (const stop of [...stops, ...ends]) stop();
    // First the host's resolver goes back, then we go silent: no question of the host falls between.
    const fault = await resolver.restore();
    if (fault !== null) this.#options.log.warn(fault.text, { hint: fault.hint });
    for (const key of this.#bindings.keys()) this.#unbind(key);
  }

  #follow(): void {
    const { state, gateway, clock } = this.#options;
    const { identity } = state;
    if (identity === null) return;
    const nameserver = gateway();
    const zoneKey = JSON.stringify([identity.settings, nameserver]);
    const changed = this.#tracker.take();
    const before = this.#zone?.revision;
    const localIds = [...state.localEndpoints().keys()];
    const isNew = this.#zone === null || zoneKey !== this.#zoneKey;
    if (this.#zone === null || isNew) {
      const serial = Math.floor(clock.nowMs() / 1000);
      this.#zone = buildZone(state.eachEndpoint(), state.hosts, { ...zoneOptions(identity, nameserver), serial });
      this.#zoneKey = zoneKey;
    } else if (changed === null) {
      this.#zone.follow(state.eachEndpoint());
    } else {
      // The catalog can be large and its changes are small; this host's own endpoints are few and looked at each time.
      for (const id of [...changed, ...this.#localIds, ...localIds]) {
        const endpoint = state.endpointOf(id);
        if (endpoint === null) this.#zone.remove(id);
        else this.#zone.put(endpoint);
      }
    }
    if (this.#hosts !== state.hosts) this.#zone.setHosts(state.hosts);
    this.#hosts = state.hosts;
    this.#localIds = localIds;
    this.#zone.setVirtuals(virtualAddresses(state.networkConfig.virtuals, identity.settings));
    if (this.#consul !== state.consul || isNew) {
      this.#consul = state.consul;
      this.#zone.setQueries(indexQueries(state.consul?.queries ?? []));
    }
    // Before anyone hears that the change is in force.
    if (isNew || this.#zone.revision !== before) this.#options.kernel?.forget();
    if (isNew) this.#renewKernel();
    state.setApplied("dns", state.catalogRevision);
  }

  /** Only when questions that the kernel leaves to us are answered here. */
  #renewKernel(): void {
    const { kernel } = this.#options;
    const gateway = this.#gatewayAddress();
    if (this.#zone === null || gateway?.port !== DNS_PORT || !this.#bindings.has(keyOf(gateway))) return;
    kernel?.renew(gateway.address, this.#hostAnswers.seats(this.#boundAddresses()));
  }

  /** Level-triggered: what should be bound and written is compared with what is, and tried again until it is so. */
  async #keepBound(signal: AbortSignal): Promise<void> {
    const { clock, gateway } = this.#options;
    while (!signal.aborted) {
      this.#nap = new AbortController();
      this.#seenGateway = gateway();
      this.#report(await this.#pass());
      this.#settle();
      const required = this.#addresses().filter(({ address }) => address !== LOOPBACK6);
      const complete = gateway() !== null && required.every((each) => this.#bindings.has(keyOf(each)));
      const settled = complete && this.#hostAnswers.isSettled();
      if (!signal.aborted) await clock.sleep(settled ? RESYNC_MS : BIND_RETRY_MS, this.#nap.signal);
    }
  }

  /** The bridge has come, or another address: a host that joins does not wait for the next look. */
  #seeGateway(): void {
    const gateway = this.#options.gateway();
    if (gateway !== this.#seenGateway) this.#nap.abort();
  }

  /** After a pass: containers may be started once the host's resolver is led to us, or a condition tells why it is not. */
  #settle(): void {
    const { state } = this.#options;
    const gateway = this.#gatewayAddress();
    if (gateway === null) return;
    this.#unboundPasses = this.#bindings.has(keyOf(gateway)) ? 0 : this.#unboundPasses + 1;
    if (this.#unboundPasses === 0 || this.#unboundPasses >= UNBOUND_PASSES_MAX) state.setResolverAt(gateway.address);
  }

  async #pass(): Promise<readonly Condition[]> {
    const { gateway, resolver, search } = this.#options;
    const wanted = this.#addresses();
    for (const key of this.#bindings.keys()) if (!wanted.some((each) => keyOf(each) === key)) this.#unbind(key);
    const faults: Condition[] = [];
    for (const address of wanted) {
      const fault = await this.#bind(address);
      if (fault !== null) faults.push(fault);
    }
    this.#follow();
    this.#renewKernel();
    if (await this.#hostAnswers.look(this.#boundAddresses())) this.#renewKernel();
    const nameserver = gateway();
    const { port } = this.#gatewayAddress() ?? { port: 0 };
    if (nameserver === null || port !== DNS_PORT || !this.#bindings.has(`${nameserver}:${port}`)) {
      await resolver.refresh();
      return nameserver === null ? [...faults, NO_BRIDGE] : faults;
    }
    // Only a server that answers is written into the host's configuration.
    const fault = await resolver.install({ nameserver, search: search ?? [] });
    return fault === null ? faults : [...faults, fault];
  }

  async #bind(address: ServedAddress): Promise<Condition | null> {
    if (this.#bindings.has(keyOf(address))) return null;
    const { listener, log } = this.#options;
    const bound: Binding[] = [];
    try {
      const udp = await listener.bindUdp(address.address, address.port, (message, peer, reply) =>
        this.#server.answer(message, "udp", reply, this.#keepFor(peer.address, address)),
      );
      bound.push(udp);
      bound.push(
        await listener.bindTcp(address.address, address.port, (message, reply) =>
          this.#server.answer(message, "tcp", reply),
        ),
      );
      this.#bindings.set(keyOf(address), bound);
      log.info(`Answering DNS on ${keyOf(address)}`);
      return null;
    } catch (error) {
      for (const binding of bound) binding.close();
      if (!(error instanceof AppError)) throw error;
      // Loopback is a convenience, and a real Consul agent may hold its port; containers have no other server.
      const isLoopback = address.address === LOOPBACK || address.address === LOOPBACK6;
      // A host without IPv6 has no ::1, and then nobody asks there.
      if (address.address === LOOPBACK6 && error.code === "unavailable") return null;
      const severity = isLoopback ? "warning" : "error";
      return { code: "dns-not-bound", severity, text: error.message, hint: error.hint ?? "" };
    }
  }

  /** Null for whoever asks by a way that the kernel gives no answers on. */
  #keepFor(client: string, asked: ServedAddress): KeepAnswers | null {
    const { kernel = null } = this.#options;
    if (kernel === null || !kernel.isReady()) return null;
    // Programs of the host ask from the address that they ask, unless they choose another.
    return this.#fastClients.has(client) || (client === asked.address && this.#hostAnswers.arrivesAt(asked.address))
      ? this.#keep
      : null;
  }

  #noteClients(): void {
    const { state } = this.#options;
    const slow = state.slowRanges().policy.map(parseCidr);
    const addresses = state.ports.flatMap((port) => (port.network === ENGINE_NETWORK ? port.addresses : []));
    this.#fastClients = new Set(addresses.filter((address) => !slow.some((range) => cidrContains(range, address))));
  }

  #unbind(key: string): void {
    for (const binding of this.#bindings.get(key) ?? []) binding.close();
    this.#bindings.delete(key);
  }

  #report(conditions: readonly Condition[]): void {
    const text = JSON.stringify(conditions);
    if (text === this.#conditions) return;
    this.#conditions = text;
    this.#options.state.setConditions("dns", conditions);
    for (const condition of conditions) this.#options.log.warn(condition.text, { hint: condition.hint });
  }

  #gatewayAddress(): Upstream | null {
    const address = this.#options.gateway();
    return address === null ? null : { address, port: this.#options.ports?.gateway ?? DNS_PORT };
  }

  #boundAddresses(): readonly ServedAddress[] {
    return this.#addresses().filter((each) => this.#bindings.has(keyOf(each)));
  }

  #addresses(): readonly ServedAddress[] {
    const gateway = this.#gatewayAddress();
    const { ports } = this.#options;
    const address6 = this.#options.gateway6?.() ?? null;
    const six = address6 === null ? [] : [{ address: address6, port: ports?.gateway ?? DNS_PORT }];
    const gateways = gateway === null ? [] : [gateway, ...six];
    if (ports?.loopback === null) return gateways;
    const port = ports?.loopback ?? CONSUL_DNS_PORT;
    return [...gateways, ...[LOOPBACK, LOOPBACK6].map((address) => ({ address, port }))];
  }

  /** The cluster's setting wins over the host's own configuration. */
  #upstreams(): readonly Upstream[] {
    const { state, resolver } = this.#options;
    const configured = state.identity?.settings.dnsUpstreams ?? [];
    const chosen = configured.length > 0 ? configured : resolver.nameservers();
    return chosen.map((address) => ({ address, port: this.#options.ports?.upstream ?? DNS_PORT }));
  }
}

interface ServedAddress {
  readonly address: HostAddress;
  readonly port: number;
}

const NO_BRIDGE: Condition = {
  code: "dns-no-bridge",
  severity: "info",
  text: "Containers on this host have no DNS yet: the bridge has no address",
  hint: "It comes with the host's block; see the conditions of the network",
};

function keyOf({ address, port }: ServedAddress): string {
  return isIpv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

function dnsSettings(identity: AgentIdentity | null): DnsSettings {
  return { ...DEFAULT_DNS, ...identity?.settings.dns };
}

function zoneOptions(identity: AgentIdentity, nameserver: Ipv4 | null): Parameters<typeof buildZone>[2] {
  const { settings } = identity;
  return {
    domain: settings.dnsDomain,
    containerDomain: settings.containerDomain ?? DEFAULT_CONTAINER_DOMAIN,
    settings: dnsSettings(identity),
    datacenter: settings.datacenter,
    ttlSeconds: 0,
    range: parseCidr(settings.range),
    range6: (settings.range6 ?? null) === null ? null : parseCidr6(settings.range6 ?? ""),
    nameserver,
  };
}
