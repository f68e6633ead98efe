/** Hosts with a monitor each, on a network of rules, in virtual time: what `LinkMonitor` is tested in. */
import type { HostId } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { LinkFacts, OwnMode } from "../choose-link-mode.ts";
import { LinkMonitor } from "./link-monitor.ts";
import type { OutgoingProbe } from "./link-monitor.ts";
import type { MonitoredPeer } from "./peer-link.ts";
import { hostTag } from "./probe-datagram.ts";

const TICK_MS = 100;
/** From new facts to routes: a pass of the network part. */
const APPLY_MS = 300;

export interface Packet {
  readonly from: number;
  readonly to: number;
  /** "underlay" for the agents' own; else the mode that carries it. */
  readonly over: "underlay" | OwnMode;
  readonly bytes: number;
}

interface WorldHost {
  readonly monitor: LinkMonitor;
  alive: boolean;
  /** By peer's number: as the routes have it, and when newer facts reach them. */
  readonly modes: Map<number, MonitoredPeer["mode"]>;
  readonly facts: Map<number, LinkFacts>;
  readonly pending: { readonly atMs: number; readonly peer: number; readonly facts: LinkFacts }[];
  sent: number;
}

export class LinkWorld {
  nowMs = 0;
  /** True for packets that arrive. */
  carries: (packet: Packet) => boolean = () => true;
  readonly hosts: WorldHost[];
  readonly #modes: readonly OwnMode[];
  readonly #inFlight: { readonly atMs: number; readonly run: (atMs: number) => void }[] = [];
  readonly #latencyMs: (from: number, to: number) => number;

  constructor(count: number, modes: readonly OwnMode[], latencyMs: (from: number, to: number) => number = () => 1) {
    this.#modes = modes;
    this.#latencyMs = latencyMs;
    this.hosts = Array.from({ length: count }, (_, number) => ({
      monitor: new LinkMonitor(hostTag(idOf(number)), 1000 * number, 0),
      alive: true,
      modes: new Map(),
      facts: new Map(),
      pending: [],
      sent: 0,
    }));
    for (const number of this.hosts.keys()) this.#setPeers(number);
  }

  /** The mode from a host to another, "relay:N" through the host with number N. */
  mode(from: number, to: number): string {
    const relay = this.host(from).facts.get(to)?.relay;
    if (relay) return `relay:${relay.via.slice(1)}`;
    return this.host(from).modes.get(to) ?? "none";
  }

  host(number: number): WorldHost {
    const host = this.hosts[number];
    if (host === undefined) throw new Error(`There is no host ${number}`);
    return host;
  }

  run(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += TICK_MS) this.#tick();
  }

  /** Milliseconds until it holds; the limit when it does not. */
  runUntil(holds: () => boolean, limitMs: number): number {
    const startMs = this.nowMs;
    while (!holds() && this.nowMs - startMs < limitMs) this.run(TICK_MS);
    return this.nowMs - startMs;
  }

  #tick(): void {
    for (const [number, host] of this.hosts.entries()) {
      if (!host.alive) continue;
      for (const probe of host.monitor.tick(this.nowMs)) this.#send(number, probe);
      this.#takeFacts(number);
    }
    const endMs = this.nowMs + TICK_MS;
    for (;;) {
      const next = this.#inFlight.filter(({ atMs }) => atMs < endMs).toSorted((x, y) => x.atMs - y.atMs)[0];
      if (next === undefined) return;
      this.#inFlight.splice(this.#inFlight.indexOf(next), 1);
      next.run(next.atMs);
    }
  }

  #takeFacts(number: number): void {
    const host = this.host(number);
    for (const [id, facts] of host.monitor.facts()) {
      const peer = numberOf(id);
      const last = host.pending.findLast((each) => each.peer === peer)?.facts ?? host.facts.get(peer);
      if (JSON.stringify(last) !== JSON.stringify(facts))
        host.pending.push({ atMs: this.nowMs + APPLY_MS, peer, facts });
    }
    let changed = false;
    for (let next = host.pending[0]; next !== undefined && next.atMs <= this.nowMs; next = host.pending[0]) {
      host.pending.shift();
      host.facts.set(next.peer, next.facts);
      const own = this.#modes[Math.min(next.facts.skip, this.#modes.length - 1)] ?? "none";
      host.modes.set(next.peer, next.facts.relay === null ? own : "relay");
      changed = true;
    }
    if (changed) this.#setPeers(number);
  }

  #setPeers(number: number): void {
    const { monitor, modes } = this.host(number);
    const peers = [...this.hosts.keys()]
      .filter((other) => other !== number)
      .map((other): MonitoredPeer => ({
        id: idOf(other),
        name: `h${other}`,
        tag: hostTag(idOf(other)),
        underlay: addressOf("192.168", other),
        gateway: addressOf("10.2", other),
        probeAddress: addressOf("10.3", other),
        modes: this.#modes,
        mode: modes.get(other) ?? this.#modes[0] ?? "none",
        deviceMtu: 1500,
      }));
    monitor.setPeers(peers, this.nowMs);
  }

  /** Each way of a packet in this world: over the underlay, over the route's mode, or over two hops of a relay. */
  #arrives(from: number, to: number, { place, bytes }: Pick<OutgoingProbe, "place" | "bytes">): boolean {
    const size = bytes + 28;
    if (place === "underlay") return this.carries({ from, to, over: "underlay", bytes: size });
    const facts = this.host(from).facts.get(to);
    const own = this.#modes[Math.min(facts?.skip ?? 0, this.#modes.length - 1)] ?? "direct";
    if (place === "candidate") return this.carries({ from, to, over: facts?.testing ?? own, bytes: size });
    if (facts?.relay) {
      const via = numberOf(facts.relay.via);
      const [first, second] = [this.host(from).modes.get(via), this.host(via).modes.get(to)];
      const hop = (a: number, b: number, mode: string | undefined): boolean =>
        this.carries({ from: a, to: b, over: mode === "vxlan" ? "vxlan" : "direct", bytes: size });
      return second !== "relay" && hop(from, via, first) && hop(via, to, second);
    }
    return this.carries({ from, to, over: own, bytes: size });
  }

  #send(from: number, probe: OutgoingProbe, sentMs = this.nowMs): void {
    const to = Number(probe.to.split(".")[2]);
    const host = this.host(from);
    host.sent += 1;
    const { kind, origin, target, token, detail, bytes, place } = probe;
    const sequence = host.sent;
    if (!this.#arrives(from, to, probe)) return;
    const receive = (atMs: number): void => {
      if (!this.host(to).alive) return;
      const sender = hostTag(idOf(from));
      const datagram = { kind, origin, target, token, detail, bytes, sender, session: 1, sequence };
      const answer = this.host(to).monitor.receive(datagram, addressOf(placeRange(place), from), place, atMs);
      if (answer !== null) this.#send(to, answer, atMs);
    };
    this.#inFlight.push({ atMs: sentMs + this.#latencyMs(from, to), run: receive });
  }
}

function placeRange(place: OutgoingProbe["place"]): string {
  if (place === "underlay") return "192.168";
  return place === "gateway" ? "10.2" : "10.3";
}

function idOf(number: number): HostId {
  return `h${number}` as HostId;
}

function numberOf(id: HostId): number {
  return Number(id.slice(1));
}

function addressOf(range: string, number: number): Ipv4 {
  return parseIpv4(`${range}.${number}.1`);
}
