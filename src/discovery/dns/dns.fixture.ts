/** What tests of the DNS server share: instances, and questions through an independent decoder. */
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import { DnsServer, type Transport } from "./dns-server.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Zone } from "./zone.ts";
import type { ZoneInstance } from "./zone-instance.ts";

/** What a client adds to a question when it takes answers of 1232 bytes (RFC 6891). */
export const EDNS: packet.OptAnswer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: 1232,
  flags: 0,
  options: [],
  extendedRcode: 0,
  ednsVersion: 0,
  flag_do: false,
};

/** A deterministic stand-in for chance: a linear congruential generator. */
export function seeded(seed: number): { next(): number; uuid(): string; secret(): string } {
  let state = seed;
  const next = (): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
  return { next, uuid: () => "", secret: () => "" };
}

export function instance({
  id,
  ...change
}: Partial<ZoneInstance> & Pick<ZoneInstance, "id" | "service" | "address">): ZoneInstance {
  const fixed = { port: 8080, protocol: "tcp", tags: [], meta: {}, host: "h1", health: "passing" } as const;
  return { ...fixed, id, container: id, ...change };
}

export interface Shown {
  readonly code: string;
  readonly tc: boolean;
  readonly ra: boolean;
  readonly bytes: number;
  /** "name ttl TYPE data" each. */
  readonly answers: readonly string[];
  readonly authorities: readonly string[];
  readonly additionals: readonly string[];
}

interface AskOptions {
  readonly edns?: number;
  readonly transport?: Transport;
}

/** Asks through one server, so that what it remembers is part of the test. */
export class Asker {
  readonly #server: DnsServer;

  constructor(zone: () => Zone, forwarder: Forwarder | null = null) {
    this.#server = new DnsServer({ random: seeded(7), zone, forwarder });
  }

  async ask(name: string, type: string, { edns, transport = "udp" }: AskOptions = {}): Promise<Shown> {
    const additionals = edns === undefined ? [] : [{ ...EDNS, udpPayloadSize: edns }];
    const questions = [{ name, type: type as "A", class: "IN" as const }];
    const message = packet.encode({ type: "query", id: 4711, flags: packet.RECURSION_DESIRED, questions, additionals });
    const answer = await new Promise<Uint8Array>((resolve) => this.#server.answer(message, transport, resolve));
    const decoded = packet.decode(Buffer.from(answer));
    return {
      code: (decoded as unknown as { rcode: string }).rcode,
      tc: decoded.flag_tc,
      ra: decoded.flag_ra,
      bytes: answer.length,
      answers: show(decoded.answers),
      authorities: show(decoded.authorities),
      additionals: show(decoded.additionals),
    };
  }
}

function show(records: readonly packet.Answer[] | undefined): readonly string[] {
  return (records ?? []).flatMap((record) =>
    record.type === "OPT"
      ? []
      : [`${record.name} ${"ttl" in record ? record.ttl : ""} ${record.type} ${dataOf(record)}`],
  );
}

function dataOf(record: packet.Answer): string {
  switch (record.type) {
    case "SRV":
      return `${record.data.priority} ${record.data.weight} ${record.data.port} ${record.data.target}`;
    case "TXT":
      return [record.data].flat().map(String).join("|");
    case "SOA": {
      const { mname, rname, serial, refresh, retry, expire, minimum } = record.data;
      return `${mname} ${rname} ${serial} ${refresh} ${retry} ${expire} ${minimum}`;
    }
    default:
      return "data" in record && typeof record.data === "string" ? record.data : "";
  }
}
