/**
 * What is known of the path to one peer, and which mode follows from it. Time comes in as a value; nothing is sent here.
 *
 * Three questions are kept apart: does the peer's underlay answer, does the mode in use carry packets of containers (a
 * probe between the gateways goes the way theirs go), and does a third host reach the peer. A peer whose agent is away
 * answers none of them, and then nothing changes: its kernel forwards without an agent.
 */
import type { HostId } from "../../model/ids.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import type { LinkFacts, LinkMode, OwnMode } from "../choose-link-mode.ts";
import { overheadOf } from "../choose-link-mode.ts";
import { CandidateTest } from "./candidate-test.ts";
import { PathMtuSearch } from "./path-mtu-search.ts";
import { MISSES_DOWN, ProbeSeries } from "./probe-series.ts";
import type { HostTag } from "./probe-datagram.ts";

/** One peer as policy, kernel and the network's last pass have it. */
export interface MonitoredPeer {
  readonly id: HostId;
  readonly name: string;
  readonly tag: HostTag;
  readonly underlay: HostAddress;
  readonly gateway: Ipv4;
  /** First address of its first block, given to no container. */
  readonly probeAddress: Ipv4;
  /** What policy allows, best first; [] when there is no way to it. */
  readonly modes: readonly OwnMode[];
  /** What the routes say now. */
  readonly mode: LinkMode["mode"];
  /** MTU of the device towards it. */
  readonly deviceMtu: number;
}

/** Which of this host's addresses a probe is sent from, and so what it proves. */
export type ProbePlace = "underlay" | "gateway" | "candidate";

export interface ProbeWish {
  readonly place: ProbePlace;
  /** Null: to the peer itself. */
  readonly via: HostId | null;
  /** Of the whole IP packet; 0 for the least. */
  readonly packetBytes: number;
  /** Tells the link that it was sent. */
  readonly sent: (token: number) => void;
  readonly overdueMs: number;
}

/** Routes of both hosts follow within a second or two of a change; what is missed meanwhile says nothing. */
const GRACE_MS = 3000;
/** A peer behind a relay is direct again after so many answers in a row: one that flaps stays where it is. */
const ANSWERS_BACK = 3;
/** Large packets are tried this often between two searches. */
const SIZE_INTERVAL_MS = 5000;
/** Unreachable peers are asked at least this often, so that what heals is seen. */
const DOWN_INTERVAL_MS = 2000;
/** One that works is left for a nearer one after this at the earliest. */
const RELAY_KEPT_MS = 30_000;
/** Answers of several relays are awaited for so long before one is taken. */
const RELAY_CHOICE_MS = 600;
/** Round trips within one of these steps, each twice as long as the one before, count as equal. */
const RTT_STEP_MS = 2;

type Relaying = { readonly via: HostId; readonly because: "underlay" | "modes" };

export class PeerLink {
  readonly underlay = new ProbeSeries();
  readonly overlay = new ProbeSeries();
  readonly size = new ProbeSeries();
  readonly relays = new Map<HostId, { readonly series: ProbeSeries; mtu: number | null }>();
  readonly test: CandidateTest;
  peer: MonitoredPeer;
  readonly #search: PathMtuSearch;
  #skip = 0;
  #cause: string | null = null;
  #relaying: Relaying | null = null;
  #graceUntilMs = 0;
  #changedMs: number;
  #relayWantedMs: number | null = null;
  /** Probes between the gateways missed in a row while each one to the peer's own address was answered. */
  #filtered = 0;

  /** `before`: what an earlier run of this agent knew; its routes are still in the kernel and stay until more is known. */
  constructor(peer: MonitoredPeer, nowMs: number, before: LinkFacts | null = null) {
    this.peer = peer;
    this.#changedMs = nowMs;
    this.#search = new PathMtuSearch(peer.deviceMtu, nowMs);
    this.test = new CandidateTest(nowMs);
    if (before === null) return;
    this.#skip = Math.min(before.skip, Math.max(0, peer.modes.length - 1));
    this.#cause = before.cause;
    if (before.pathMtu !== null && before.pathMtu <= peer.deviceMtu) this.#search.found = before.pathMtu;
    if (before.relay === null) return;
    this.#relaying = { via: before.relay.via, because: "underlay" };
    this.relays.set(before.relay.via, { series: new ProbeSeries(), mtu: before.relay.mtu });
  }

  /** Takes over what the network's pass said; another set of modes or another address makes a new link of it. */
  update(peer: MonitoredPeer, nowMs: number): void {
    const before = this.peer;
    this.peer = peer;
    if (before.underlay !== peer.underlay || before.modes.join() !== peer.modes.join()) {
      this.#settle({ skip: 0, cause: null, relaying: null }, nowMs);
      this.underlay.restart(nowMs);
      this.#search.restart(peer.deviceMtu, nowMs);
      this.test.reset(nowMs);
    } else if (before.mode !== peer.mode) this.#settle({}, nowMs);
    if (this.#search.ceiling !== peer.deviceMtu) this.#search.restart(peer.deviceMtu, nowMs);
  }

  get degraded(): boolean {
    return this.#skip > 0 || this.#relaying !== null;
  }

  get wantsRelay(): boolean {
    return this.#relayWantedMs !== null || this.#relaying !== null;
  }

  /** Reached without a third host: only then may this host be one for others. */
  get ownReach(): boolean {
    return this.#relaying === null && this.overlay.up === true;
  }

  /** Bytes that packets of containers may have on this host's own way to the peer; 0 while not measured. */
  carriedBytes(): number {
    const { mode } = this.peer;
    const { found } = this.#search;
    return found === null || mode === "none" || mode === "relay" ? 0 : found - overheadOf(mode, this.peer.underlay);
  }

  facts(): LinkFacts {
    const relaying = this.#relaying;
    const relay = relaying === null ? null : { via: relaying.via, mtu: this.relays.get(relaying.via)?.mtu ?? null };
    const testing = this.degraded && relaying?.because !== "underlay" ? (this.#candidates()[0] ?? null) : null;
    return { pathMtu: this.#search.found, skip: this.#skip, testing, relay, cause: this.#cause };
  }

  /** Looks at what was missed and changes the mode when the cause for it changed. `relays`: best first. */
  decide(nowMs: number): void {
    this.size.expire(nowMs);
    if (this.underlay.expire(nowMs)) this.#filtered = 0;
    if (this.overlay.expire(nowMs) && this.underlay.misses === 0) this.#filtered += 1;
    for (const { series } of this.relays.values()) series.expire(nowMs);
    // Large packets are lost and small ones are not: the path became narrower.
    if (this.size.up === false && this.underlay.up === true && this.underlay.misses === 0 && !this.#search.active) {
      this.#search.restart(this.peer.deviceMtu, nowMs);
      this.size.restart(nowMs + SIZE_INTERVAL_MS);
    }
    if (nowMs < this.#graceUntilMs) return;
    if (this.#relaying !== null) this.#decideRelayed(this.#relaying, nowMs);
    else this.#decideOwn(nowMs);
    this.#decideTest(nowMs);
  }

  #decideOwn(nowMs: number): void {
    const { peer } = this;
    // Never heard of since this agent started: its agent may be older than this protocol, or away.
    const silent = this.underlay.up === false && this.overlay.up !== true;
    // Only an answer that is younger than what was missed tells a filter from an outage.
    const fresh = this.underlay.up === true && this.underlay.answeredSentMs > this.overlay.missedSentMs;
    if (this.overlay.misses > 0 && !fresh) this.underlay.hasten(nowMs);
    const carriesNot = fresh && this.#filtered >= MISSES_DOWN && this.overlay.up === false;
    if (carriesNot && this.#skip < peer.modes.length - 1) {
      const mode = peer.modes[this.#skip] ?? "";
      const cause = `${mode} packets of containers do not pass to ${peer.underlay}, though its own address answers`;
      this.test.reset(nowMs, this.#changedMs);
      return this.#settle({ skip: this.#skip + 1, cause }, nowMs);
    }
    if (!silent && !carriesNot) {
      this.#relayWantedMs = null;
      if (this.relays.size > 0) this.relays.clear();
      return;
    }
    this.#relayWantedMs ??= nowMs;
    const via = this.#bestRelay();
    if (via === null || nowMs - this.#relayWantedMs < RELAY_CHOICE_MS) return;
    const cause = silent ? `${peer.underlay} does not answer this host` : `no mode carries packets to ${peer.underlay}`;
    this.#settle({ cause, relaying: { via, because: silent ? "underlay" : "modes" } }, nowMs);
  }

  #decideRelayed(relaying: Relaying, nowMs: number): void {
    if (relaying.because === "underlay" && this.underlay.answers >= ANSWERS_BACK) {
      return this.#settle({ skip: 0, cause: null, relaying: null }, nowMs);
    }
    const present = this.relays.get(relaying.via)?.series;
    const failsSinceMs = present === undefined || present.misses === 0 ? null : present.missedSentMs;
    if (failsSinceMs !== null) this.#hastenOthers(relaying.via, failsSinceMs, nowMs);
    // A peer whose agent is away answers over none: only who has answered since is better than one that fails.
    const best = this.#bestRelay(present?.up === false && failsSinceMs !== null ? failsSinceMs : undefined);
    if (best === null || best === relaying.via) return;
    // One that fails is left at once; without another the last one known stays.
    const better = nowMs - this.#changedMs > RELAY_KEPT_MS;
    if (present?.up === false || better) this.#settle({ relaying: { ...relaying, via: best } }, nowMs);
  }

  #decideTest(nowMs: number): void {
    const candidates = this.#candidates();
    const target = candidates[0];
    if (!this.degraded || target === undefined || this.#relaying?.because === "underlay") return;
    if (!this.test.passed(nowMs)) return;
    const skip = this.peer.modes.indexOf(target);
    this.#settle({ skip, cause: skip === 0 ? null : this.#cause, relaying: null }, nowMs);
  }

  /** Modes better than the present one, the best first. */
  #candidates(): readonly OwnMode[] {
    return this.#relaying === null ? this.peer.modes.slice(0, this.#skip) : this.peer.modes;
  }

  /** Alternatives are asked seldom: what they said before the present one failed tells nothing. */
  #hastenOthers(via: HostId, sinceMs: number, nowMs: number): void {
    for (const [id, { series }] of this.relays) {
      if (id !== via && series.up !== false && series.answeredSentMs <= sinceMs) series.hasten(nowMs);
    }
  }

  #bestRelay(sinceMs = Number.NEGATIVE_INFINITY): HostId | null {
    let best: { readonly id: HostId; readonly step: number } | null = null;
    for (const [id, { series }] of this.relays) {
      if (series.up !== true || series.answeredSentMs < sinceMs) continue;
      const step = rttStep(series.rttMs);
      if (best === null || step < best.step || (step === best.step && id < best.id)) best = { id, step };
    }
    return best?.id ?? null;
  }

  #settle(
    change: { readonly skip?: number; readonly cause?: string | null; readonly relaying?: Relaying | null },
    nowMs: number,
  ): void {
    if (change.skip !== undefined) this.#skip = change.skip;
    if (change.cause !== undefined) this.#cause = change.cause;
    if (change.relaying !== undefined) this.#relaying = change.relaying;
    if (this.#relaying === null) {
      this.#relayWantedMs = null;
      this.relays.clear();
    }
    this.#filtered = 0;
    this.overlay.restart(nowMs + RELAY_CHOICE_MS);
    this.#graceUntilMs = nowMs + GRACE_MS;
    this.#changedMs = nowMs;
  }

  /** What is to be sent now. `intervalMs` is the pace that so many peers allow. */
  wishes(nowMs: number, intervalMs: number, helpers: readonly HostId[]): ProbeWish[] {
    const wishes: ProbeWish[] = [];
    const wish = (
      series: ProbeSeries,
      pace: number,
      where: Pick<ProbeWish, "place" | "via">,
      packetBytes = 0,
    ): void => {
      const overdueMs = series.overdueMs(nowMs);
      if (overdueMs < 0) return;
      wishes.push({ ...where, packetBytes, overdueMs, sent: (token) => series.sent(token, nowMs, pace) });
    };
    const own = { place: "underlay", via: null } as const;
    wish(this.underlay, this.underlay.up === true ? intervalMs : Math.min(intervalMs, DOWN_INTERVAL_MS), own);
    // Without a route of ours the kernel would send it who knows where.
    if (this.peer.mode !== "none") wish(this.overlay, intervalMs, { place: "gateway", via: null });
    if (this.underlay.up === true && this.underlay.misses === 0) {
      const packetBytes = this.#search.wanted(nowMs);
      const { found } = this.#search;
      if (packetBytes !== null) {
        const sent = (token: number): void => this.#search.sent(token, nowMs);
        wishes.push({ ...own, packetBytes, overdueMs: 0, sent });
      } else if (found !== null && !this.#search.active) {
        wish(this.size, Math.max(SIZE_INTERVAL_MS, intervalMs), own, found);
      }
    }
    if (this.wantsRelay) this.#wishRelays(nowMs, intervalMs, helpers, wish);
    if (this.degraded && this.#candidates().length > 0 && this.test.due(nowMs)) {
      const sent = (token: number): void => this.test.sent(token, nowMs);
      wishes.push({ place: "candidate", via: null, packetBytes: 0, overdueMs: 0, sent });
    }
    return wishes;
  }

  #wishRelays(
    nowMs: number,
    intervalMs: number,
    helpers: readonly HostId[],
    wish: (series: ProbeSeries, pace: number, where: Pick<ProbeWish, "place" | "via">) => void,
  ): void {
    const kept = this.#relaying?.via;
    for (const id of this.relays.keys()) if (id !== kept && !helpers.includes(id)) this.relays.delete(id);
    for (const id of helpers) {
      if (!this.relays.has(id)) this.relays.set(id, { series: new ProbeSeries(), mtu: null });
    }
    // Fast while one is looked for, slow for those that are only an alternative.
    const looking = this.#relaying === null && nowMs - (this.#relayWantedMs ?? nowMs) < 10_000;
    for (const [via, { series }] of this.relays) {
      const pace = via === kept || looking ? intervalMs : 10 * intervalMs;
      wish(series, pace, { place: "underlay", via });
    }
  }

  /** True when it answers a question of this link. `mtu`: what a relay said of its own link. */
  answered(token: number, nowMs: number, detail: number): boolean {
    if (this.underlay.answered(token, nowMs)) return true;
    if (this.overlay.answered(token, nowMs)) {
      this.#filtered = 0;
      return true;
    }
    if (this.size.answered(token, nowMs) || this.#search.answered(token, nowMs)) return true;
    if (this.test.answered(token)) return true;
    for (const relay of this.relays.values()) {
      if (!relay.series.answered(token, nowMs)) continue;
      relay.mtu = detail === 0 ? relay.mtu : detail;
      return true;
    }
    return false;
  }

  /** The peer tries the better mode: so does this host, since a mode is good only when both use it. */
  nudge(nowMs: number): void {
    if (this.degraded) this.test.hasten(nowMs);
  }

  excuse(nowMs: number): void {
    for (const series of [this.underlay, this.overlay, this.size]) series.excuse(nowMs);
    for (const { series } of this.relays.values()) series.excuse(nowMs);
  }
}

/** Coarse, so that both ends of a link take the same relay, and a relay is not left for a hair. */
export function rttStep(rttMs: number | null): number {
  return rttMs === null ? Infinity : Math.max(0, Math.ceil(Math.log2(rttMs / RTT_STEP_MS)));
}
