/** Asks the outside for names that are not ours, for containers and the host alike. */
import { DEFAULT_DNS, type DnsSettings } from "../../model/dns-settings.ts";
import type { Clock } from "../../platform/ports/clock.ts";
import type { DatagramClient } from "../../platform/ports/listener.ts";
import type { Random } from "../../platform/ports/random.ts";
import { type Upstream, chooseUpstreams } from "./choose-upstreams.ts";
import { nameKeyAt } from "./domain-name.ts";
import type { Query } from "./parse-query.ts";
import { type ParsedResponse, parseResponse } from "./parse-response.ts";
import { ResponseCache } from "./response-cache.ts";
import {
  FLAG_CHECKING_DISABLED,
  FLAG_RECURSION_DESIRED,
  HEADER_BYTES,
  OPT_BYTES,
  RCODE_NXDOMAIN,
  RCODE_OK,
  TYPE_OPT,
  copyOf,
  readUint16,
  writeUint16,
} from "./wire-format.ts";

export interface ForwarderOptions {
  readonly datagrams: DatagramClient;
  readonly clock: Clock;
  readonly random: Random;
  /** Asked for every question: they change with the host's own configuration. */
  readonly upstreams: () => readonly Upstream[];
  /** Where we answer ourselves. */
  readonly own: () => readonly Upstream[];
  /** Those of the cluster now; the defaults when missing. */
  readonly settings?: () => Pick<DnsSettings, "upstreamOrder" | "upstreamTimeoutMs" | "staleSeconds">;
}

/** After this resolvers have given up on us: an answer would reach nobody, and the next question has a better chance. */
const ASK_MS_MAX = 5000;
/** Questions under way; more would only pile up behind a dead outside until their askers are gone. */
const PENDING_MAX = 512;
/** Fits a datagram on any path without fragments. */
const RECEIVE_BYTES_MAX = 1232;

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #cache = new ResponseCache();
  /**
   * One question is asked once, however many wait for it. That also stops a loop through a local resolver that asks us
   * back: the second round joins the first, which then times out and goes on to the next upstream.
   */
  readonly #pending = new Map<string, Promise<Uint8Array | null>>();
  #lastGood: Upstream | null = null;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** The answer for this client, of any length, or null when there is none to be had. Never rejects. */
  async ask(message: Uint8Array, query: Query): Promise<Uint8Array | null> {
    const question = copyOf(message, HEADER_BYTES, query.nameEnd + 4);
    const key = cacheKey(message, query);
    const answer = this.#cached(key) ?? (await this.#shared(key, question, query));
    return answer === null ? null : forClient(answer, question, query);
  }

  /** The answer at once if it is remembered, else null. */
  remembered(message: Uint8Array, query: Query): Uint8Array | null {
    const answer = this.#cached(cacheKey(message, query));
    return answer === null ? null : forClient(answer, copyOf(message, HEADER_BYTES, query.nameEnd + 4), query);
  }

  #cached(key: string): Uint8Array | null {
    return this.#cache.fresh(key, this.#options.clock.monotonicMs());
  }

  async #shared(key: string, question: Uint8Array, query: Query): Promise<Uint8Array | null> {
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    if (this.#pending.size >= PENDING_MAX) return null;
    const asked = this.#askAll(key, question, query).finally(() => this.#pending.delete(key));
    this.#pending.set(key, asked);
    return asked;
  }

  async #askAll(key: string, question: Uint8Array, query: Query): Promise<Uint8Array | null> {
    const { upstreams, own, clock, random } = this.#options;
    const { upstreamOrder, staleSeconds } = this.#settings();
    const startedAtMs = clock.monotonicMs();
    const order = upstreamOrder === "random" ? random : this.#lastGood;
    for (const upstream of chooseUpstreams(upstreams(), own(), order)) {
      if (clock.monotonicMs() - startedAtMs >= ASK_MS_MAX) break;
      const found = await this.#askOne(upstream, question, query);
      if (found === null) continue;
      this.#lastGood = upstream;
      this.#cache.put(key, found.bytes, found.response, clock.monotonicMs());
      return found.bytes;
    }
    return this.#cache.stale(key, clock.monotonicMs(), staleSeconds * 1000);
  }

  #settings(): Pick<DnsSettings, "upstreamOrder" | "upstreamTimeoutMs" | "staleSeconds"> {
    return this.#options.settings?.() ?? DEFAULT_DNS;
  }

  /** Null for anything but an answer that settles the question: the next upstream may know better. */
  async #askOne(upstream: Upstream, question: Uint8Array, query: Query): Promise<Answer | null> {
    const { datagrams, random } = this.#options;
    const id = Math.floor(random.next() * 65_536);
    const bytes = renderUpstreamQuery(question, query, id);
    const { address, port } = upstream;
    const timeoutMs = this.#settings().upstreamTimeoutMs;
    const first = checked(await datagrams.ask(bytes, address, port, timeoutMs), bytes);
    if (first?.response.truncated !== true) return first;
    return checked(await datagrams.askStream(bytes, address, port, timeoutMs), bytes);
  }
}

interface Answer {
  readonly bytes: Uint8Array;
  readonly response: ParsedResponse;
}

/** Believes an answer only if it is one to this very question. */
function checked(answer: Uint8Array | null, asked: Uint8Array): Answer | null {
  const response = answer === null ? null : parseResponse(answer);
  if (answer === null || response === null || response.id !== readUint16(asked, 0)) return null;
  const end = response.questionEnd;
  if (nameKeyAt(answer, HEADER_BYTES, end) !== nameKeyAt(asked, HEADER_BYTES, end)) return null;
  return response.rcode === RCODE_OK || response.rcode === RCODE_NXDOMAIN ? { bytes: answer, response } : null;
}

function cacheKey(message: Uint8Array, query: Query): string {
  const dnssec = query.edns?.dnssecOk === true ? "d" : "-";
  const unchecked = (query.flags & FLAG_CHECKING_DISABLED) !== 0 ? "c" : "-";
  return `${dnssec}${unchecked}${readUint16(message, query.nameEnd)} ${nameKeyAt(message, HEADER_BYTES, query.nameEnd)}`;
}

/** A question of our own: the client's may carry options that are between it and us. */
function renderUpstreamQuery(question: Uint8Array, query: Query, id: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + question.length + OPT_BYTES);
  writeUint16(bytes, 0, id);
  writeUint16(bytes, 2, FLAG_RECURSION_DESIRED | (query.flags & FLAG_CHECKING_DISABLED));
  writeUint16(bytes, 4, 1);
  writeUint16(bytes, 10, 1);
  bytes.set(question, HEADER_BYTES);
  const opt = HEADER_BYTES + question.length;
  writeUint16(bytes, opt + 1, TYPE_OPT);
  writeUint16(bytes, opt + 3, RECEIVE_BYTES_MAX);
  writeUint16(bytes, opt + 7, query.edns?.dnssecOk === true ? 0x8000 : 0);
  return bytes;
}

/** With the client's id and spelling, and without OPT for a client that sent none (RFC 6891 §7). */
function forClient(answer: Uint8Array, question: Uint8Array, query: Query): Uint8Array {
  const opt = query.edns === null ? parseResponse(answer)?.opt : null;
  const bytes = opt === null || opt === undefined ? copyOf(answer) : copyOf(answer, 0, opt.start);
  if (opt !== null && opt !== undefined) writeUint16(bytes, 10, readUint16(bytes, 10) - 1);
  writeUint16(bytes, 0, query.id);
  bytes.set(question, HEADER_BYTES);
  return bytes;
}
