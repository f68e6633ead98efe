/**
 * etcd 3.4's JSON gateway (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/) over a socket file: what of it we use. Keys and
 * values are base64 there and 64-bit numbers are texts; here they are texts and numbers.
 */
import { z } from "zod";
import { AppError, describeError } from "../../model/error.ts";

export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
}

/** Holds when the revision of the key is the given one; 0: there is no such key. */
export interface EtcdCompare {
  readonly key: string;
  readonly of: "CREATE" | "MOD";
  readonly revision: number;
}

export type EtcdWrite =
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly lease?: string }
  | { readonly kind: "delete"; readonly key: string };

export interface EtcdTransaction {
  readonly compare: readonly EtcdCompare[];
  readonly writes: readonly EtcdWrite[];
  /** Read when a comparison does not hold. */
  readonly otherwise?: string;
}

export interface EtcdOutcome {
  readonly succeeded: boolean;
  readonly revision: number;
  /** Of `otherwise`, null when it is not there or was not read. */
  readonly found: EtcdEntry | null;
}

export interface EtcdRange {
  readonly from: string;
  readonly to: string;
  readonly limit: number;
  /** 0: the present one. */
  readonly revision: number;
  /** Of this member alone: it may be old, and needs no quorum. */
  readonly serializable?: boolean;
}

export interface EtcdEvent {
  readonly key: string;
  readonly revision: number;
  /** Null: deleted. */
  readonly value: string | null;
  /** Null: there was none. */
  readonly before: string | null;
}

export interface EtcdMember {
  readonly id: string;
  /** "" until it has started for the first time. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
}

/** Longer than etcd itself tries, so that its own answer is the one that counts. */
const TIMEOUT_MS = 9000;
/** gRPC's codes for a request that was refused and not carried out: invalid argument, exhausted, failed precondition. */
const REFUSED: ReadonlySet<number> = new Set([3, 5, 8, 9]);

const number = z.coerce.number().int().nonnegative();
const entry = z.object({
  key: z.string(),
  value: z.string().default(""),
  create_revision: number,
  mod_revision: number,
});
const header = z.object({ revision: number.default(0) });
const range = z.object({ header, kvs: z.array(entry).default([]), more: z.boolean().default(false) });
const outcome = z.object({
  header,
  succeeded: z.boolean().default(false),
  responses: z.array(z.object({ response_range: range.partial().optional() })).default([]),
});
const event = z.object({
  type: z.enum(["PUT", "DELETE"]).default("PUT"),
  kv: entry.extend({ create_revision: number.default(0) }),
  prev_kv: entry.optional(),
});
const watched = z.object({
  result: z.object({ canceled: z.boolean().default(false), events: z.array(event).default([]) }),
});
const lease = z.object({ ID: z.string(), TTL: number.default(0) });
const member = z.object({
  ID: z.string(),
  name: z.string().default(""),
  peerURLs: z.array(z.string()),
  isLearner: z.boolean().default(false),
});

export class EtcdGateway {
  readonly #socket: string;

  /** @param socket path of the socket file that this machine's etcd listens on */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** A linearizable read of one key. */
  async get(key: string, signal?: AbortSignal): Promise<EtcdEntry | null> {
    const found = range.parse(await this.#post("/v3/kv/range", { key: encode(key) }, signal)).kvs[0];
    return found === undefined ? null : entryOf(found);
  }

  /** Keys from `from` on and before `to`, in byte order; of a certain `revision` when that is not 0. */
  async range(
    { from, to, limit, revision, serializable = false }: EtcdRange,
    signal?: AbortSignal,
  ): Promise<{ readonly entries: readonly EtcdEntry[]; readonly more: boolean; readonly revision: number }> {
    const body = { key: encode(from), range_end: encode(to), limit: String(limit), revision: String(revision) };
    const answer = range.parse(await this.#post("/v3/kv/range", { ...body, serializable }, signal));
    return { entries: answer.kvs.map(entryOf), more: answer.more, revision: answer.header.revision };
  }

  /**
   * Changes of keys from `from` on and before `to`, from that revision on, as this member hears of them; ends after an abort.
   * @throws AppError `unavailable` when the stream breaks or what is asked for is forgotten already.
   */
  async *watch(
    { from, to, revision }: { from: string; to: string; revision: number },
    signal: AbortSignal,
  ): AsyncGenerator<readonly EtcdEvent[]> {
    const asked = { key: encode(from), range_end: encode(to), start_revision: String(revision), prev_kv: true };
    const init = { method: "POST", body: JSON.stringify({ create_request: asked }), unix: this.#socket, signal };
    try {
      const response = await fetch("http://etcd/v3/watch", { ...init, timeout: false } as RequestInit);
      for await (const line of linesOf(response.body)) {
        const { result } = watched.parse(JSON.parse(line));
        if (result.canceled)
          throw new AppError("unavailable", "Cannot watch etcd: it has forgotten what was asked for");
        if (result.events.length > 0) yield result.events.map(eventOf);
      }
    } catch (cause) {
      if (signal.aborted) return;
      if (cause instanceof AppError) throw cause;
      throw new AppError("unavailable", `Cannot watch this server's etcd: ${describeError(cause)}`, { cause });
    }
  }

  async transact({ compare, writes, otherwise }: EtcdTransaction, signal?: AbortSignal): Promise<EtcdOutcome> {
    const body = {
      compare: compare.map(renderCompare),
      success: writes.map(renderWrite),
      failure: otherwise === undefined ? [] : [{ request_range: { key: encode(otherwise) } }],
    };
    const { header: head, succeeded, responses } = outcome.parse(await this.#post("/v3/kv/txn", body, signal));
    const found = succeeded ? undefined : responses[0]?.response_range?.kvs?.[0];
    return { succeeded, revision: head.revision, found: found === undefined ? null : entryOf(found) };
  }

  /** A lease that ends so many seconds after its last renewal; etcd may make it longer. Returns its id. */
  async grantLease(ttlSeconds: number, signal?: AbortSignal): Promise<string> {
    return lease.parse(await this.#post("/v3/lease/grant", { TTL: String(ttlSeconds) }, signal)).ID;
  }

  /** False when there is no such lease any more. */
  async renewLease(id: string, signal?: AbortSignal): Promise<boolean> {
    const answer = z.object({ result: lease }).parse(await this.#post("/v3/lease/keepalive", { ID: id }, signal));
    return answer.result.TTL > 0;
  }

  /** Its keys go with it. */
  async revokeLease(id: string, signal?: AbortSignal): Promise<void> {
    await this.#post("/v3/lease/revoke", { ID: id }, signal);
  }

  async members(): Promise<readonly EtcdMember[]> {
    const { members } = z.object({ members: z.array(member) }).parse(await this.#post("/v3/cluster/member/list", {}));
    return members.map(memberOf);
  }

  /** A member that gets all data and has no vote until it is promoted. One at a time. */
  async addLearner(peerUrl: string): Promise<EtcdMember> {
    const body = { peerURLs: [peerUrl], isLearner: true };
    return memberOf(z.object({ member }).parse(await this.#post("/v3/cluster/member/add", body)).member);
  }

  /** Gives a learner its vote. @throws AppError `conflict` while it has not caught up. */
  async promoteMember(id: string): Promise<void> {
    await this.#post("/v3/cluster/member/promote", { ID: id });
  }

  /** One that is not there is fine. */
  async removeMember(id: string): Promise<void> {
    await this.#post("/v3/cluster/member/remove", { ID: id }).catch((error: unknown) => {
      if (!(error instanceof AppError) || !error.message.includes("member not found")) throw error;
    });
  }

  /** @throws AppError `conflict` when it was refused, `unavailable` when it may or may not have been carried out. */
  async #post(path: string, body: object, signal?: AbortSignal): Promise<unknown> {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    const init = {
      method: "POST",
      body: JSON.stringify(body),
      unix: this.#socket,
      signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
    };
    let text: string;
    let ok: boolean;
    try {
      const response = await fetch(`http://etcd${path}`, init as RequestInit);
      ok = response.ok;
      text = await response.text();
    } catch (cause) {
      throw new AppError("unavailable", `Cannot reach this server's etcd: ${describeError(cause)}`, { cause });
    }
    if (ok) return JSON.parse(text);
    const { code, message } = parseRefusal(text);
    throw new AppError(REFUSED.has(code) ? "conflict" : "unavailable", `Cannot ask etcd: ${message}`, {
      details: { path, code },
    });
  }
}

function parseRefusal(text: string): { readonly code: number; readonly message: string } {
  try {
    const json = JSON.parse(text) as { readonly code?: unknown; readonly error?: unknown };
    return { code: Number(json.code), message: String(json.error) };
  } catch {
    return { code: 0, message: text.slice(0, 200) };
  }
}

function renderCompare({ key, of, revision }: EtcdCompare): object {
  const field = of === "CREATE" ? "create_revision" : "mod_revision";
  return { key: encode(key), target: of, result: "EQUAL", [field]: String(revision) };
}

function renderWrite(write: EtcdWrite): object {
  if (write.kind === "delete") return { request_delete_range: { key: encode(write.key) } };
  const { key, value, lease: id } = write;
  return { request_put: { key: encode(key), value: encode(value), ...(id === undefined ? {} : { lease: id }) } };
}

function entryOf({ key, value, create_revision, mod_revision }: z.infer<typeof entry>): EtcdEntry {
  return {
    key: decode(key),
    value: decode(value),
    createRevision: create_revision,
    modRevision: mod_revision,
  };
}

function eventOf({ type, kv, prev_kv: before }: z.infer<typeof event>): EtcdEvent {
  return {
    key: decode(kv.key),
    revision: kv.mod_revision,
    value: type === "DELETE" ? null : decode(kv.value),
    before: before === undefined ? null : decode(before.value),
  };
}

async function* linesOf(body: AsyncIterable<Uint8Array> | null): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest: string[] = [];
  for await (const piece of body ?? []) {
    const [first = "", ...more] = decoder.decode(piece, { stream: true }).split("\n");
    rest.push(first);
    for (const next of more) {
      const line = rest.join("");
      rest = [next];
      if (line !== "") yield line;
    }
  }
}

function memberOf({ ID, name, peerURLs, isLearner }: z.infer<typeof member>): EtcdMember {
  return { id: ID, name, peerUrls: peerURLs, isLearner };
}

function encode(text: string): string {
  return Buffer.from(text).toString("base64");
}

function decode(text: string): string {
  return Buffer.from(text, "base64").toString();
}
