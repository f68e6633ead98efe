import type { Random } from "../../platform/ports/random.ts";
import { AnswerWriter, TCP_BYTES_MAX, udpBytesMax } from "./answer-writer.ts";
import { type NameKey, nameBytes, nameKeyAt } from "./domain-name.ts";
import type { Forwarder } from "./forwarder.ts";
import { type Query, parseQuery } from "./parse-query.ts";
import { readAddressRecords } from "./parse-response.ts";
import { QuestionTable } from "./question-table.ts";
import type { RecordSet } from "./record-set.ts";
import {
  CLASS_IN,
  HEADER_BYTES,
  RCODE_NXDOMAIN,
  RCODE_OK,
  RCODE_REFUSED,
  RCODE_SERVFAIL,
  TYPE_A,
  TYPE_AAAA,
  TYPE_ANY,
  TYPE_CNAME,
  copyOf,
  writeUint16,
} from "./wire-format.ts";
import type { Zone } from "./zone.ts";

export type Transport = "udp" | "tcp";

export interface DnsServerOptions {
  readonly random: Random;
  /** The zone to answer from now, null before this host knows its cluster. */
  readonly zone: () => Zone | null;
  /** Null refuses names that are not ours. */
  readonly forwarder: Forwarder | null;
}

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

  /** Never throws, whatever the bytes; `reply` is called once at most, and then owns the answer. */
  answer(message: Uint8Array, transport: Transport, reply: (answer: Uint8Array) => void): void {
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
      const { set, soa } = known;
      if (set !== null) reply(this.#writer.records(message, query, set, bytesMax));
      else if (soa !== null) reply(this.#negative(message, query, { missing: known.entry === "missing", soa }));
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
    this.#known?.put(message, query.nameEnd, { revision: zone.revision, type, entry, set, soa });
    if (set !== null) reply(this.#writer.records(message, query, set, bytesMax));
    else if (soa !== null) reply(this.#negative(message, query, { missing: entry === "missing", soa }));
  }

  #negative(message: Uint8Array, query: Query, found: { missing: boolean; soa: Uint8Array }): Uint8Array {
    return this.#writer.negative(message, query, { rcode: found.missing ? RCODE_NXDOMAIN : RCODE_OK, soa: found.soa });
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
