import type { Endpoint } from "../model/endpoint.ts";
import type { AnnouncedKeys } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import type { DeclaredNetwork } from "../network/declared-network.ts";
import type { LocalPort } from "../network/local-port.ts";
import type { RulesetPart } from "../network/render-ruleset.ts";
import type { LinkReport } from "../model/link.ts";
import type { LinkBytes } from "../network/links/link-totals.ts";
import type { LinkFacts } from "../network/choose-link-mode.ts";
import type { LinkRow } from "../network/plan-host.ts";
import type { AddressUse, LeaseProblem } from "../model/lease.ts";
import type { DnsCounts } from "../model/wire.ts";
import type { DesiredPeer } from "../network/plan-network.ts";
import { AgentEvents } from "./agent-events.ts";
import { sameData } from "./same-data.ts";

/** What must not take the fast path: ranges in CIDR form. */
export interface SlowRanges {
  /** Packets from and to these addresses are policy's to look at. */
  readonly policy: readonly string[];
  /** Virtual addresses: their clients' connections are translated in the kernel's connection table. */
  readonly virtual: readonly string[];
}

/** A name that containers of the whole cluster can look up, and that no container of the engine has. */
export interface LocalName {
  /** Unique on this host. */
  readonly owner: string;
  readonly name: string;
  readonly address: Ipv4;
  readonly address6: Ipv6 | null;
}

/** The network's share of the agent's state: what parts found in the kernel, and what they want of it. */
export class NetworkState extends AgentEvents {
  /** Written by the address book; null until this host's containers are known. */
  addressUse: AddressUse | null = null;
  /** Where this host is probed, where that is not the first address of its first block. Written by the probe address part. */
  probeAddress: Ipv4 | null = null;
  /** What the engine hands out of the first block by itself; null: all of it, or it has not said yet. Written by the network part. */
  engineRange: string | null = null;
  /**
   * The gateway address at which this host's resolver asks us, or where conditions tell why it does not; null: not settled yet;
   * undefined: nobody here answers names. Written by the DNS part.
   */
  resolverAt: Ipv4 | null | undefined;
  /** The same for declared networks that somebody here uses or waits for. Written by their book. */
  networkUse: Readonly<Record<string, AddressUse>> = {};
  /** Why there is no block of a declared network, by network. */
  networkProblems: Readonly<Record<string, LeaseProblem>> = {};
  /** Declared networks that containers here can be put on. Written by their part. */
  declared: readonly DeclaredNetwork[] = [];
  /** What the kernel's table holds, by the parts that it was rendered from; null until that is known. */
  servedRules: readonly RulesetPart[] | null = null;
  /** Endpoints outside that this host looks after. Written by the imports part. */
  imports: readonly Endpoint[] = [];
  /** This host's ends of the containers' interfaces; see `setPorts`. */
  ports: readonly LocalPort[] = [];
  /** All that tell of ports have: before that, none is known. */
  portsKnown = false;
  /** Written by the attach part: attachments and exposed addresses. */
  names: readonly LocalName[] = [];
  /** This host's own WireGuard keys, see `setKeys`; null when it has none. */
  keys: AnnouncedKeys | null = null;
  /** What probes found out, by peer; null while none are sent. Written by the links part. */
  linkFacts: ReadonlyMap<HostId, LinkFacts> | null = null;
  /** Modes as the routes have them. Written by the network part. */
  linkRows: readonly LinkRow[] = [];
  /** Both together, for people. Written by the links part. */
  links: readonly LinkReport[] = [];
  /** By a peer's own address: what the fast path counted; null without one. Written by the fast path's part. */
  linkBytes: ReadonlyMap<Ipv4, LinkBytes> | null = null;
  /** What went the kernel's own way, by peer; null until that was looked at. Written by the link bytes part. */
  slowLinkBytes: ReadonlyMap<HostId, LinkBytes> | null = null;
  /** DNS questions of containers and of the host; null without a fast path. Written by its part. */
  dnsCounts: DnsCounts | null = null;
  /** Written by the network part: the peers that packets can go to, with the way to each; null before its first pass. */
  ways: readonly DesiredPeer[] | null = null;
  /** Written by whoever enforces policy or serves virtual addresses, each under its own name. */
  readonly #slow = new Map<string, SlowRanges>();
  readonly #ports = new Map<string, readonly LocalPort[]>();
  readonly #expectedPorts = new Set<"engine" | "wired">(["engine"]);
  readonly #rules = new Map<string, RulesetPart>();
  readonly #expectedRules = new Set<string>();

  setWays(ways: readonly DesiredPeer[]): void {
    if (sameData(this.ways, ways)) return;
    this.ways = ways;
    this.emit("ways");
  }

  slowRanges(): SlowRanges {
    const all = [...this.#slow.values()];
    return {
      policy: [...new Set(all.flatMap(({ policy }) => policy))].toSorted(),
      virtual: [...new Set(all.flatMap(({ virtual }) => virtual))].toSorted(),
    };
  }

  /** Each owner writes its own ranges, whole. They take effect in the kernel a moment later. */
  setSlowRanges(owner: string, ranges: SlowRanges): void {
    if (sameData(this.#slow.get(owner) ?? { policy: [], virtual: [] }, ranges)) return;
    this.#slow.set(owner, ranges);
    this.emit("slow");
  }

  /** Each part tells whole what it plugged in, or saw plugged in by the engine. */
  setPorts(part: "engine" | "wired", ports: readonly LocalPort[]): void {
    this.#ports.set(part, ports);
    this.ports = [...this.#ports.values()].flat();
    this.#expectedPorts.delete(part);
    this.portsKnown ||= this.#expectedPorts.size === 0;
    this.emit("ports");
  }

  /** That part will tell its ports. */
  expectPorts(part: "engine" | "wired"): void {
    if (!this.#ports.has(part)) this.#expectedPorts.add(part);
  }

  /** Written by the key part. */
  setKeys(keys: AnnouncedKeys): void {
    this.keys = keys;
    this.emit("keys");
  }

  /** Rules of that name will be set: until then those of a former agent stay in the kernel as they are. */
  expectRules(part: RulesetPart["name"]): void {
    this.#expectedRules.add(part);
  }

  expectsRules(part: RulesetPart["name"]): boolean {
    return this.#expectedRules.has(part);
  }

  rulesComplete(): boolean {
    return this.#expectedRules.size === 0;
  }

  setNames(names: readonly LocalName[]): void {
    if (JSON.stringify(names) === JSON.stringify(this.names)) return;
    this.names = names;
    this.emit("names");
  }

  /** Each part owns the rules of its name in our nftables table; null takes them out. */
  setRules(part: RulesetPart["name"], rules: RulesetPart | null): void {
    this.#expectedRules.delete(part);
    if (rules === null) this.#rules.delete(part);
    else this.#rules.set(part, rules);
    this.emit("rules");
  }

  /** Sorted by name. */
  rules(): readonly RulesetPart[] {
    return [...this.#rules.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Written by the network part, each time it has made or found the kernel's table so. */
  setServedRules(parts: readonly RulesetPart[]): void {
    const before = this.servedRules;
    this.servedRules = parts;
    if (before?.length !== parts.length || parts.some((part, at) => part !== before[at])) this.emit("served-rules");
  }

  setImports(endpoints: readonly Endpoint[]): void {
    this.imports = endpoints;
    this.emit("imports");
  }

  setLinkFacts(facts: ReadonlyMap<HostId, LinkFacts>): void {
    this.linkFacts = facts;
    this.emit("link-facts");
  }

  setLinkRows(rows: readonly LinkRow[]): void {
    this.linkRows = rows;
    this.emit("link-rows");
  }

  setLinks(links: readonly LinkReport[]): void {
    this.links = links;
    this.emit("links");
  }

  setNetworkUse(use: Readonly<Record<string, AddressUse>>): void {
    if (sameData(use, this.networkUse)) return;
    this.networkUse = use;
    this.emit("addresses");
  }

  /** Readers of the network's configuration want to know which of it is carried out. */
  setDeclared(networks: readonly DeclaredNetwork[]): void {
    if (sameData(networks, this.declared)) return;
    this.declared = networks;
    this.emit("declared");
  }

  setEngineRange(range: string | null): void {
    if (range === this.engineRange) return;
    this.engineRange = range;
    this.emit("addresses");
  }

  setResolverAt(address: Ipv4 | null): void {
    if (address === this.resolverAt) return;
    this.resolverAt = address;
    this.emit("resolver");
  }

  setProbeAddress(address: Ipv4 | null): void {
    if (address === this.probeAddress) return;
    this.probeAddress = address;
    this.emit("probe-address");
  }

  setAddressUse(use: AddressUse): void {
    this.addressUse = use;
    this.emit("addresses");
  }
}
