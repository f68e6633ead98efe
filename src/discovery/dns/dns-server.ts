import { AnswerWriter, TCP_BYTES_MAX, udpBytesMax } from "./answer-writer.ts";
import { nameKeyAt } from "./domain-name.ts";
import type { Forwarder } from "./forwarder.ts";
import { type Query, parseQuery } from "./parse-query.ts";
import { HEADER_BYTES, RCODE_NXDOMAIN, RCODE_OK, RCODE_REFUSED, RCODE_SERVFAIL, copyOf } from "./wire-format.ts";
import type { Random } from "../../platform/ports/random.ts";
import type { Zone } from "./zone.ts";

export type Transport = "udp" | "tcp";

export interface DnsServerOptions {
  readonly random: Random;
  /** The zone to answer from now, null before this host knows its cluster. */
  readonly zone: () => Zone | null;
  /** Null refuses names that are not ours. */
  readonly forwarder: Forwarder | null;
}

/** Answers one message after another; sockets are the caller's. Names of ours are answered before `answer` returns. */
export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #writer: AnswerWriter;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#writer = new AnswerWriter(options.random);
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
    const key = nameKeyAt(message, HEADER_BYTES, query.nameEnd);
    const found = zone?.find(key) ?? "outside";
    if (zone === null || found === "outside") {
      this.#forward(message, query, { bytesMax, reply });
      return;
    }
    const set = found === "missing" ? undefined : found.records.get(query.type);
    if (set !== undefined) {
      reply(this.#writer.records(message, query, set, bytesMax));
      return;
    }
    const rcode = found === "missing" ? RCODE_NXDOMAIN : RCODE_OK;
    reply(this.#writer.negative(message, query, { rcode, soa: zone.soaFor(key) }));
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

interface Client {
  readonly bytesMax: number;
  readonly reply: (answer: Uint8Array) => void;
}
