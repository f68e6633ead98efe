import type { Random } from "../../platform/ports/random.ts";
import { AnswerWriter, TCP_BYTES_MAX, udpBytesMax } from "./answer-writer.ts";
import { type NameKey, nameBytes, nameKeyAt } from "./domain-name.ts";
import type { Forwarder } from "./forwarder.ts";
import { type Query, parseQuery } from "./parse-query.ts";
import { readAddressRecords } from "./parse-response.ts";
import { type KnownAnswer, QuestionTable } from "./question-table.ts";
import type { RecordSet } from "./record-set.ts";
import {
  CLASS_IN,
  FLAG_TRUNCATED,
  HEADER_BYTES,
  OPT_BYTES,
  RCODE_NXDOMAIN,
  RCODE_OK,
  RCODE_REFUSED,
  RCODE_SERVFAIL,
  TYPE_A,
  TYPE_AAAA,
  TYPE_ANY,
  TYPE_CNAME,
  copyOf,
  readUint16,
  writeUint16,
} from "./wire-format.ts";
import type { Zone } from "./zone.ts";

/** Names of services with their domain are shorter. */
const KEPT_QUESTION_BYTES_MAX = 128;
/** Enough for some dozens of addresses; most answers are much shorter. */
const KEPT_BYTES_MAX = 512;
/** Answers drawn for one question: orders that clients see until new ones are drawn. */
const DRAWS = 8;
const NO_BYTES = new Uint8Array();

export type Transport = "udp" | "tcp";

export interface DnsServerOptions {
  readonly random: Random;
  /** The zone to answer from now, null before this host knows its cluster. */
  readonly zone: () => Zone | null;
  /** Null refuses names that are not ours. */
  readonly forwarder: Forwarder | null;
}

/**
 * Takes what may be said to this question as long as the zone is as it is: one answer, or several of the same length that are drawn
 * each on its own where chance has a say. The bytes of the question are only lent.
 */
export type KeepAnswers = (question: Uint8Array, answers: readonly Uint8Array[]) => void;

interface Client {
  readonly bytesMax: number;
  readonly reply: (answer: Uint8Array) => void;
}

/** Answers one message after another; sockets are the caller's. Names of ours are answered before `answer` returns. */
export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #writer: AnswerWriter;
  #known: QuestionTable | null = null;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#writer = new AnswerWriter(options.random, options.forwarder !== null);
  }

  /**
   * Never throws, whatever the bytes; `reply` is called once at most, and then owns the answer. `keep` gets answers to
   * questions that come again; null when nobody keeps any, or the client would not be given them.
   */
  answer(
    message: Uint8Array,
    transport: Transport,
    reply: (answer: Uint8Array) => void,
    keep: KeepAnswers | null = null,
  ): void {
    const query = parseQuery(message);
    if (query.kind === "drop") return;
    if (query.kind === "refuse") {
      reply(this.#writer.code(message, query));
      return;
    }
    const bytesMax = transport === "tcp" ? TCP_BYTES_MAX : udpBytesMax(query.edns);
    const zone = this.#options.zone();
    if (this.#known?.zone !== (zone ?? undefined)) this.#known = zone === null ? null : new QuestionTable(zone);
    const known = this.#known?.find(message, query.nameEnd, query.type) ?? null;
    if (known !== null) {
      reply(this.#say(message, query, known, bytesMax));
      if (keep !== null) this.#offer({ message, query, known, bytesMax, keep });
      return;
    }
    this.#look(message, query, { zone, bytesMax, reply });
  }

  #look(message: Uint8Array, query: Query, client: Client & { readonly zone: Zone | null }): void {
    const { zone, bytesMax, reply } = client;
    const key = nameKeyAt(message, HEADER_BYTES, query.nameEnd);
    const entry = zone?.find(key) ?? "outside";
    if (zone === null || entry === "outside") {
      this.#forward(message, query, client);
      return;
    }
    const { type } = query;
    const set = entry === "missing" ? null : (entry.records.get(type) ?? null);
    const alias = entry === "missing" ? undefined : entry.records.get(TYPE_CNAME);
    if (set === null && alias !== undefined && entry !== "missing" && entry.alias !== null) {
      this.#follow(message, query, { ...client, zone, alias, target: entry.alias });
      return;
    }
    const soa = set === null ? zone.soaFor(key) : null;
    const found: KnownAnswer = { revision: zone.revision, type, entry, set, soa, isTooLong: false };
    this.#known?.put(message, query.nameEnd, found);
    reply(this.#say(message, query, found, bytesMax));
  }

  #say(message: Uint8Array, query: Query, { entry, set, soa }: KnownAnswer, bytesMax: number): Uint8Array {
    if (set !== null) return this.#writer.records(message, query, set, bytesMax);
    const rcode = entry === "missing" ? RCODE_NXDOMAIN : RCODE_OK;
    return this.#writer.negative(message, query, { rcode, soa: soa ?? NO_BYTES });
  }

  /** Not before the second time: names that are asked for once cost nothing. */
  #offer({ message, query, known, bytesMax, keep }: Offer): void {
    if (known.isTooLong || !isRepeatable(message, query)) return;
    const draw = (): Uint8Array => this.#say(message, query, known, bytesMax);
    const first = draw();
    if ((readUint16(first, 2) & FLAG_TRUNCATED) !== 0 || first.length > KEPT_BYTES_MAX) {
      known.isTooLong = true;
      return;
    }
    const more = (known.set?.count ?? 0) > 1 ? DRAWS - 1 : 0;
    keep(message, [first, ...Array.from({ length: more }, draw)]);
  }

  /** Answers with an alias and, for a question about addresses, those of its target: ours at once, others from outside. */
  #follow(message: Uint8Array, query: Query, client: Client & Followed): void {
    const { zone, alias, target, bytesMax, reply } = client;
    const { forwarder } = this.#options;
    const answer = (asked: Uint8Array, addresses: readonly Uint8Array[]): void =>
      reply(this.#writer.alias(asked, query, { alias, addresses, bytesMax }));
    if (query.type !== TYPE_A && query.type !== TYPE_AAAA && query.type !== TYPE_ANY) {
      answer(message, []);
      return;
    }
    const found = zone.find(target);
    if (found !== "outside") {
      answer(message, found === "missing" ? [] : ownerless(found.records.get(query.type)));
      return;
    }
    if (forwarder === null) {
      answer(message, []);
      return;
    }
    const kept = copyOf(message);
    const type = query.type === TYPE_ANY ? TYPE_A : query.type;
    const asked = questionFor(target, type);
    void forwarder
      .ask(asked, { ...query, type, nameEnd: asked.length - 4 })
      .then((bytes) => answer(kept, bytes === null ? [] : readAddressRecords(bytes, type)));
  }

  #forward(message: Uint8Array, query: Query, client: Client): void {
    const { forwarder } = this.#options;
    if (forwarder === null) {
      client.reply(this.#code(message, query, RCODE_REFUSED));
      return;
    }
    const remembered = forwarder.remembered(message, query);
    if (remembered !== null) {
      this.#pass(message, query, { ...client, answer: remembered });
      return;
    }
    // The listener may use the datagram's memory again once we return.
    const kept = copyOf(message);
    void forwarder.ask(kept, query).then((answer) => this.#pass(kept, query, { ...client, answer }));
  }

  #pass(message: Uint8Array, query: Query, client: Client & { readonly answer: Uint8Array | null }): void {
    const { answer, bytesMax, reply } = client;
    if (answer === null) reply(this.#code(message, query, RCODE_SERVFAIL));
    else reply(answer.length <= bytesMax ? answer : this.#writer.truncated(message, query));
  }

  #code(message: Uint8Array, query: Query, rcode: number): Uint8Array {
    const { id, flags, nameEnd, edns } = query;
    return this.#writer.code(message, { kind: "refuse", id, flags, rcode, questionEnd: nameEnd + 4, edns });
  }
}

interface Offer {
  readonly message: Uint8Array;
  readonly query: Query;
  readonly known: KnownAnswer;
  readonly bytesMax: number;
  readonly keep: KeepAnswers;
}

/** Others of the same name may have another case (0x20), an EDNS cookie, or whatever else is different each time. */
function isRepeatable(message: Uint8Array, { nameEnd, edns }: Query): boolean {
  const { length } = message;
  if (length > KEPT_QUESTION_BYTES_MAX || length !== nameEnd + 4 + (edns === null ? 0 : OPT_BYTES)) return false;
  for (let at = HEADER_BYTES; at < nameEnd; at++) {
    const byte = message[at] ?? 0;
    if (byte >= 65 && byte <= 90) return false;
  }
  return true;
}

interface Followed {
  readonly zone: Zone;
  readonly alias: RecordSet;
  readonly target: NameKey;
}

/** The records of a set without the pointer before each. */
function ownerless(set: RecordSet | undefined): readonly Uint8Array[] {
  if (set === undefined) return [];
  return Array.from({ length: set.count }, (_, index) =>
    set.bytes.subarray((set.starts[index] ?? 0) + 2, set.starts[index + 1]),
  );
}

function questionFor(name: NameKey, type: number): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + name.length + 4);
  message.set(nameBytes(name), HEADER_BYTES);
  writeUint16(message, message.length - 4, type);
  writeUint16(message, message.length - 2, CLASS_IN);
  return message;
}
