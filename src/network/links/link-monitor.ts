/** All links of a host: which probes to send, what answers mean, and answering and carrying those of others. */
import type { HostId } from "../../model/ids.ts";
import type { HostAddress } from "../../model/ip6.ts";
import type { LinkFacts } from "../choose-link-mode.ts";
import type { MonitoredPeer, ProbePlace, ProbeWish } from "./peer-link.ts";
import { PeerLink, rttStep } from "./peer-link.ts";
import type { HostTag, ProbeDatagram, ProbeFault, ProbeKind } from "./probe-datagram.ts";
import { udpOverheadOf } from "./probe-datagram.ts";
import { ReplayWindow } from "./replay-window.ts";

/** Probes of one agent in a second, all peers together: a few hundredths of a core, some 20 KiB/s. */
const PROBES_PER_SECOND = 200;
const INTERVAL_MS = 1000;
/** In the usual state each peer is asked at its own address and at its gateway. */
const PROBES_PER_PEER = 2;
/** Third hosts that are asked whether they reach a peer. */
const HELPERS_MAX = 5;
/** Others' questions carried on in a second: as many as one's own. */
const CARRIED_PER_SECOND = PROBES_PER_SECOND;
/** Ticks come ten times a second; one that is this late was held up on this host. */
const STALL_MS = 1000;

export interface OutgoingProbe {
  readonly place: ProbePlace;
  readonly to: HostAddress;
  readonly kind: ProbeKind;
  readonly origin: HostTag;
  readonly target: HostTag;
  readonly token: number;
  readonly detail: number;
  /** Of the UDP datagram. */
  readonly bytes: number;
}

export type DropReason = ProbeFault | "replayed" | "unknown" | "unexpected" | "overload";

/** One link's figures, for people. */
export interface LinkFigures {
  readonly up: boolean | null;
  readonly rttMs: number | null;
  readonly lossPercent: number;
}

/** How often each peer is asked, so that all together stay within the limit. */
export function probeIntervalMs(peers: number): number {
  return Math.max(INTERVAL_MS, Math.ceil((peers * PROBES_PER_PEER * 1000) / PROBES_PER_SECOND));
}

/** A budget that fills with time; at most a second's worth is saved up. */
class Budget {
  readonly #perSecond: number;
  #left: number;
  #lastMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
    this.#lastMs = nowMs;
  }

  take(nowMs: number): boolean {
    this.#left = Math.min(this.#perSecond, this.#left + ((nowMs - this.#lastMs) * this.#perSecond) / 1000);
    this.#lastMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

export class LinkMonitor {
  readonly #self: HostTag;
  readonly #links = new Map<HostId, PeerLink>();
  readonly #byTag = new Map<HostTag, PeerLink>();
  readonly #windows = new Map<HostTag, ReplayWindow>();
  readonly #own: Budget;
  readonly #carried: Budget;
  /** What was not answered, by reason. */
  readonly dropped = new Map<DropReason, number>();
  #token: number;
  #lastTickMs: number;

  /** `firstToken`: anything; another one for each run of the agent. */
  constructor(self: HostTag, firstToken: number, nowMs: number) {
    this.#self = self;
    this.#token = firstToken >>> 0;
    this.#lastTickMs = nowMs;
    this.#own = new Budget(PROBES_PER_SECOND, nowMs);
    this.#carried = new Budget(CARRIED_PER_SECOND, nowMs);
  }

  /** `before`: facts of an earlier run, for peers that are new here. */
  setPeers(peers: readonly MonitoredPeer[], nowMs: number, before: ReadonlyMap<HostId, LinkFacts> | null = null): void {
    const wanted = new Set(peers.map((peer) => peer.id));
    for (const [id, link] of this.#links) {
      if (wanted.has(id)) continue;
      this.#links.delete(id);
      this.#byTag.delete(link.peer.tag);
      this.#windows.delete(link.peer.tag);
    }
    for (const peer of peers) {
      const known = this.#links.get(peer.id);
      if (known !== undefined) known.update(peer, nowMs);
      else {
        const link = new PeerLink(peer, nowMs, before?.get(peer.id) ?? null);
        this.#links.set(peer.id, link);
        this.#byTag.set(peer.tag, link);
      }
    }
  }

  /** To be called some ten times a second. The probes to send now, the most overdue first. */
  tick(nowMs: number): readonly OutgoingProbe[] {
    const stalled = nowMs - this.#lastTickMs > STALL_MS;
    this.#lastTickMs = nowMs;
    const interval = probeIntervalMs(this.#links.size);
    const helpers = this.#helpers();
    const wishes: { readonly link: PeerLink; readonly wish: ProbeWish }[] = [];
    for (const link of this.#links.values()) {
      if (stalled) link.excuse(nowMs);
      link.decide(nowMs);
      const others = link.wantsRelay ? helpers.filter((id) => id !== link.peer.id).slice(0, HELPERS_MAX) : [];
      for (const wish of link.wishes(nowMs, interval, others)) wishes.push({ link, wish });
    }
    return wishes
      .toSorted((a, b) => b.wish.overdueMs - a.wish.overdueMs)
      .flatMap(({ link, wish }) => {
        const to = this.#destination(link, wish);
        return to !== null && this.#own.take(nowMs) ? [this.#probe(link, wish, to)] : [];
      });
  }

  #destination({ peer }: PeerLink, { place, via }: ProbeWish): HostAddress | null {
    if (via !== null) return this.#links.get(via)?.peer.underlay ?? null;
    if (place === "gateway") return peer.gateway;
    return place === "candidate" ? peer.probeAddress : peer.underlay;
  }

  #probe({ peer }: PeerLink, wish: ProbeWish, to: HostAddress): OutgoingProbe {
    const token = this.#token;
    this.#token = (token + 1) >>> 0;
    wish.sent(token);
    return {
      place: wish.place,
      to,
      kind: wish.via === null ? "probe" : "relay-probe",
      origin: this.#self,
      target: peer.tag,
      token,
      detail: 0,
      bytes: Math.max(0, wish.packetBytes - udpOverheadOf(to)),
    };
  }

  /** Hosts that reach others by themselves, the nearest first, one more than needed: the peer itself may be among them. */
  #helpers(): readonly HostId[] {
    if (![...this.#links.values()].some((link) => link.wantsRelay)) return [];
    return [...this.#links.values()]
      .filter((link) => link.ownReach && link.underlay.up === true)
      .toSorted((a, b) => rttStep(a.underlay.rttMs) - rttStep(b.underlay.rttMs) || (a.peer.id < b.peer.id ? -1 : 1))
      .slice(0, HELPERS_MAX + 1)
      .map((link) => link.peer.id);
  }

  /** Takes a datagram that was found genuine; gives what to send because of it, from the place where it came in. */
  receive(datagram: ProbeDatagram, from: HostAddress, place: ProbePlace, nowMs: number): OutgoingProbe | null {
    const sender = this.#byTag.get(datagram.sender);
    if (sender === undefined) return this.#drop("unknown");
    const window = this.#windows.get(datagram.sender) ?? new ReplayWindow();
    this.#windows.set(datagram.sender, window);
    if (!window.accept(datagram.session, datagram.sequence, nowMs)) return this.#drop("replayed");
    const mine = datagram.target === this.#self;
    switch (datagram.kind) {
      case "probe":
        if (!mine || datagram.origin !== datagram.sender) return this.#drop("unexpected");
        if (place === "candidate") sender.nudge(nowMs);
        return { ...this.#answer(datagram, place, from), kind: "echo" };
      case "relay-probe":
        if (mine) return { ...this.#answer(datagram, place, from), kind: "relay-echo" };
        return this.#carry(datagram, nowMs);
      case "echo":
      case "relay-echo":
        if (datagram.origin === this.#self) return this.#take(datagram, nowMs);
        return datagram.kind === "relay-echo" ? this.#carryBack(datagram, nowMs) : this.#drop("unexpected");
    }
  }

  #answer(datagram: ProbeDatagram, place: ProbePlace, to: HostAddress): Omit<OutgoingProbe, "kind"> {
    const { origin, target, token } = datagram;
    return { place, to, origin, target, token, detail: 0, bytes: 0 };
  }

  #take({ target, token, detail }: ProbeDatagram, nowMs: number): null {
    const answered = this.#byTag.get(target)?.answered(token, nowMs, detail) ?? false;
    return answered ? null : this.#drop("unexpected");
  }

  /** Only to peers that this host reaches itself: else two hosts could each send to the other what neither can deliver. */
  #carry(datagram: ProbeDatagram, nowMs: number): OutgoingProbe | null {
    const link = this.#byTag.get(datagram.target);
    if (link === undefined || !link.ownReach || datagram.origin !== datagram.sender) return this.#drop("unexpected");
    if (!this.#carried.take(nowMs)) return this.#drop("overload");
    const { origin, target, token } = datagram;
    const to = link.peer.underlay;
    return { place: "underlay", to, kind: "relay-probe", origin, target, token, detail: 0, bytes: 0 };
  }

  #carryBack(datagram: ProbeDatagram, nowMs: number): OutgoingProbe | null {
    const asker = this.#byTag.get(datagram.origin);
    if (asker === undefined || datagram.sender !== datagram.target) return this.#drop("unexpected");
    if (!this.#carried.take(nowMs)) return this.#drop("overload");
    const { origin, target, token } = datagram;
    const detail = this.#byTag.get(target)?.carriedBytes() ?? 0;
    const to = asker.peer.underlay;
    return { place: "underlay", to, kind: "relay-echo", origin, target, token, detail, bytes: 0 };
  }

  /** Notes a datagram that was not answered. */
  count(reason: DropReason): void {
    this.dropped.set(reason, (this.dropped.get(reason) ?? 0) + 1);
  }

  #drop(reason: DropReason): null {
    this.count(reason);
    return null;
  }

  knows(id: HostId): boolean {
    return this.#links.has(id);
  }

  facts(): ReadonlyMap<HostId, LinkFacts> {
    return new Map([...this.#links].map(([id, link]) => [id, link.facts()]));
  }

  figures(id: HostId): LinkFigures | null {
    const link = this.#links.get(id);
    if (link === undefined) return null;
    // Packets of containers go where the gateway's do; without an answer there, the underlay's tell something at least.
    const { overlay, underlay } = link;
    const up = overlay.up === true || underlay.up === true ? overlay.up : underlay.up === null ? null : false;
    return { up, rttMs: overlay.rttMs ?? underlay.rttMs, lossPercent: overlay.lossPercent };
  }
}
