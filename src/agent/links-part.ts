import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { isIpv4 } from "../model/ip.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { LinkReport } from "../model/link.ts";
import type { Condition } from "../model/wire.ts";
import type { LinkFacts } from "../network/choose-link-mode.ts";
import { gatewayOf, probeAddressOf } from "../network/blocks.ts";
import { LinkMonitor } from "../network/links/link-monitor.ts";
import type { OutgoingProbe } from "../network/links/link-monitor.ts";
import type { MonitoredPeer, ProbePlace } from "../network/links/peer-link.ts";
import { hostTag, parseProbe, renderProbe } from "../network/links/probe-datagram.ts";
import type { HostTag } from "../network/links/probe-datagram.ts";
import { untilSharedTick } from "../model/until-shared-tick.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Mac } from "../platform/ports/mac.ts";
import type { ProbeSocket, ProbeSockets } from "../platform/ports/probe-sockets.ts";
import type { Random } from "../platform/ports/random.ts";
import type { AgentIdentity, AgentPart, AgentState } from "./agent-state.ts";

export interface LinksPartOptions {
  readonly state: AgentState;
  readonly sockets: ProbeSockets;
  readonly makeMac: (key: Uint8Array) => Mac;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Address of this host inside the range; null until containers can use it. */
  readonly gateway: () => Ipv4 | null;
}

const TICK_MS = 100;
/** An address that is not there yet is tried again after this. */
const REOPEN_MS = 1000;
const SHOW_MS = 1000;
const ANY_ADDRESS = "0.0.0.0";

/** Measures the paths to all peers and says which modes they allow; `state.linkFacts` and `state.links` are its word. */
export function createLinksPart(options: LinksPartOptions): AgentPart {
  return { name: "links", run: (signal) => run(options, signal) };
}

async function run(options: LinksPartOptions, signal: AbortSignal): Promise<void> {
  const { state, clock } = options;
  let links: RunningLinks | null = null;
  while (!signal.aborted) {
    const { identity } = state;
    if (links !== null && !links.fits(identity)) {
      links.close();
      links = null;
    }
    if (links === null && identity?.probeKey !== undefined && identity.blocks.length > 0) {
      links = new RunningLinks(options, identity, identity.probeKey);
    }
    await links?.tick();
    await clock.sleep(untilSharedTick(clock.monotonicMs(), TICK_MS), signal);
  }
  links?.close();
}

/** Probing as one host with one key, until either changes. */
class RunningLinks {
  readonly #options: LinksPartOptions;
  readonly #identity: AgentIdentity;
  readonly #key: string;
  readonly #mac: Mac;
  readonly #self: HostTag;
  readonly #session: number;
  readonly #monitor: LinkMonitor;
  readonly #open = new Map<ProbePlace, { readonly address: string; readonly socket: ProbeSocket }>();
  readonly #since = new Map<HostId, { readonly way: string; readonly sinceMs: number }>();
  readonly #causes = new Map<HostId, string | null>();
  #stops: readonly (() => void)[] = [];
  #sequence = 0;
  #peersChanged = true;
  #facts = "";
  #openMs = Number.NEGATIVE_INFINITY;
  #shownMs = Number.NEGATIVE_INFINITY;
  #fault = "";

  constructor(options: LinksPartOptions, identity: AgentIdentity, key: string) {
    const { state, clock, random, makeMac } = options;
    this.#options = options;
    this.#identity = identity;
    this.#key = key;
    this.#mac = makeMac(Buffer.from(key, "base64url"));
    this.#self = hostTag(identity.hostId);
    this.#session = Math.floor(clock.nowMs());
    this.#monitor = new LinkMonitor(this.#self, Math.floor(random.next() * 2 ** 32), clock.monotonicMs());
    const changed = (): void => {
      this.#peersChanged = true;
    };
    this.#stops = [state.on("link-rows", changed), state.on("peers", changed)];
  }

  fits(identity: AgentIdentity | null): boolean {
    const mine = this.#identity;
    return identity?.hostId === mine.hostId && identity.probeKey === this.#key && identity.blocks[0] === mine.blocks[0];
  }

  close(): void {
    for (const stop of this.#stops) stop();
    for (const { socket } of this.#open.values()) socket.close();
    this.#open.clear();
  }

  async tick(): Promise<void> {
    const { state, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#openMs >= REOPEN_MS) {
      this.#openMs = nowMs;
      await this.#openSockets();
    }
    if (this.#peersChanged) {
      this.#peersChanged = false;
      this.#monitor.setPeers(this.#peers(), nowMs, state.linkFacts);
    }
    for (const probe of this.#monitor.tick(nowMs)) this.#send(probe);
    this.#publish(nowMs);
  }

  /**
   * The gateway's socket first: as long as this host cannot answer for its containers it is silent at its own address too,
   * else others would take a host that only starts for one behind a filter.
   */
  async #openSockets(): Promise<void> {
    const gateway = this.#options.gateway();
    const wanted: readonly (readonly [ProbePlace, string])[] =
      gateway === null
        ? []
        : [
            ["gateway", gateway],
            ["candidate", this.#options.state.probeAddress ?? probeAddressOf(this.#identity)],
            ["underlay", ANY_ADDRESS],
          ];
    const conditions: Condition[] = [];
    for (const [place, address] of wanted) {
      const open = this.#open.get(place);
      if (open?.address === address) continue;
      open?.socket.close();
      this.#open.delete(place);
      try {
        const receive = (bytes: Uint8Array, from: HostAddress): void => this.#receive(bytes, from, place);
        this.#open.set(place, { address, socket: await this.#options.sockets.open(address, receive) });
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        // The probe address comes with the network's next pass.
        if (error.code === "unavailable" && place === "candidate") continue;
        conditions.push(notMeasured(error));
        break;
      }
    }
    const fault = JSON.stringify(conditions);
    if (fault !== this.#fault) this.#options.state.setConditions("links", conditions);
    this.#fault = fault;
  }

  #peers(): readonly MonitoredPeer[] {
    const { state } = this.#options;
    return state.linkRows.flatMap((row): MonitoredPeer[] => {
      const peer = state.peers.get(row.peerId);
      if (peer === undefined || peer.blocks.length === 0) return [];
      return [
        {
          id: peer.id,
          name: peer.name,
          tag: hostTag(peer.id),
          underlay: peer.address,
          gateway: gatewayOf(peer.blocks),
          probeAddress: probeAddressOf(peer),
          modes: row.modes,
          mode: row.mode,
          deviceMtu: row.deviceMtu ?? 0,
        },
      ];
    });
  }

  #send(probe: OutgoingProbe): void {
    const socket = this.#open.get(probe.place)?.socket;
    if (socket === undefined) return;
    const { kind, origin, target, token, detail, bytes, to } = probe;
    this.#sequence += 1;
    const [sender, session, sequence] = [this.#self, this.#session, this.#sequence];
    socket.send(renderProbe({ kind, origin, target, token, detail, bytes, sender, session, sequence }, this.#mac), to);
  }

  #receive(bytes: Uint8Array, from: HostAddress, place: ProbePlace): void {
    const datagram = parseProbe(bytes, this.#mac);
    if (typeof datagram === "string") return this.#monitor.count(datagram);
    const answer = this.#monitor.receive(datagram, from, place, this.#options.clock.monotonicMs());
    if (answer !== null) this.#send(answer);
  }

  #publish(nowMs: number): void {
    const { state } = this.#options;
    // What an earlier run knew of peers that the network part has not come to yet.
    const unseen = [...(state.linkFacts ?? [])].filter(([id]) => state.peers.has(id) && !this.#monitor.knows(id));
    const facts = new Map([...unseen, ...this.#monitor.facts()]);
    const text = JSON.stringify([...facts]);
    if (text !== this.#facts) {
      this.#facts = text;
      state.setLinkFacts(facts);
      this.#tellCauses(facts);
    }
    if (nowMs - this.#shownMs < SHOW_MS) return;
    this.#shownMs = nowMs;
    state.setLinks(this.#reports());
  }

  /** Each change of mode with its reason; and what was not answered up to then, since it may be the reason for the reason. */
  #tellCauses(facts: ReadonlyMap<HostId, LinkFacts>): void {
    const { state, log } = this.#options;
    for (const [id, { cause, relay }] of facts) {
      const before = this.#causes.get(id) ?? null;
      if (cause === before) continue;
      this.#causes.set(id, cause);
      const via = relay === null ? null : (state.peers.get(relay.via)?.name ?? relay.via);
      const dropped = Object.fromEntries(this.#monitor.dropped);
      const peer = state.peers.get(id)?.name ?? id;
      if (cause === null) log.info("link is in its best mode again", { peer });
      else log.warn("link is not in its best mode", { peer, cause, via, dropped });
    }
  }

  #reports(): readonly LinkReport[] {
    const { state, clock } = this.#options;
    return state.linkRows.map(({ peerId, peer, mode, via, why, mtu, encryption }) => {
      const way = `${mode} ${via}`;
      const known = this.#since.get(peerId);
      const since = known?.way === way ? known : { way, sinceMs: clock.nowMs() };
      this.#since.set(peerId, since);
      const figures = this.#monitor.figures(peerId) ?? { up: null, rttMs: null, lossPercent: 0 };
      // Hundredths of a millisecond are more than a probe measures.
      const rttMs = figures.rttMs === null ? null : Math.round(figures.rttMs * 100) / 100;
      const counted = this.#bytesOf(peerId);
      return { peerId, peer, mode, via, why, ...figures, rttMs, mtu, ...counted, encryption, sinceMs: since.sinceMs };
    });
  }

  /** Of both ways together; a peer that nothing was sent to or heard of has no counter yet. */
  #bytesOf(id: HostId): Pick<LinkReport, "txBytes" | "rxBytes"> {
    const { linkBytes, slowLinkBytes, peers } = this.#options.state;
    if (linkBytes === null && slowLinkBytes === null) return { txBytes: null, rxBytes: null };
    const address = peers.get(id)?.address;
    // The fast path is IPv4's.
    const fast = address !== undefined && isIpv4(address) ? linkBytes?.get(address) : undefined;
    const slow = slowLinkBytes?.get(id);
    return {
      txBytes: (fast?.sentBytes ?? 0) + (slow?.sentBytes ?? 0),
      rxBytes: (fast?.receivedBytes ?? 0) + (slow?.receivedBytes ?? 0),
    };
  }
}

function notMeasured(error: AppError): Condition {
  const text = `Cannot measure the links to other hosts: ${error.message}`;
  return { code: "links-not-measured", severity: "warning", text, hint: error.hint ?? "See the addresses: ip address" };
}
