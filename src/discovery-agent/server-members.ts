/** The leading server's side of joins and leaves of servers. */
import { AppError } from "../model/error.ts";
import type { EtcdGateway, EtcdMember } from "../platform/etcd/etcd-gateway.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import { Turns } from "../platform/loop/turns.ts";
import { readAuthority } from "../platform/tls/peer-identity.ts";
import type { StartedServer } from "../server/start-server.ts";
import { serverPaths } from "./server-files.ts";
import type { Formation } from "./formation.ts";
import type { ServerRecord, ServerRecords } from "./server-records.ts";
import type { ServerToken } from "./server-token.ts";
import type { ServerGrant, ServersApi, ServerWish } from "./servers-api.ts";

export interface ServerMembersDeps {
  readonly gateway: EtcdGateway;
  readonly records: ServerRecords;
  readonly formation: Formation;
  readonly server: StartedServer;
  readonly token: ServerToken;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** A member that was added and has not been seen since will not come. */
const ABSENT_MS_MAX = 60_000;
const PROMOTE_EVERY_MS = 100;
const LOOK_EVERY_MS = 1000;

export class ServerMembers implements ServersApi {
  readonly token: ServerToken;
  readonly #deps: ServerMembersDeps;
  readonly #turns = new Turns();
  readonly #sinceMs = new Map<string, number>();
  #nap = new AbortController();

  constructor(deps: ServerMembersDeps) {
    this.#deps = deps;
    this.token = deps.token;
  }

  /** One at a time, as etcd wants it. */
  async join(wish: ServerWish): Promise<ServerGrant> {
    return await this.#turns.take(() => this.#join(wish));
  }

  async leave(name: string): Promise<void> {
    const { records, log } = this.#deps;
    await this.#turns.take(() => records.remove(name));
    log.info("Server left", { node: name });
  }

  /** Gives members their vote once they have caught up, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { gateway, clock, formation } = this.#deps;
    while (!signal.aborted) {
      const members = await gateway.members().catch(onlyAppError);
      if (members !== null && formation.waits) await formation.see(this.#votersOf(members)).catch(onlyAppError);
      const learners = (members ?? []).filter(({ isLearner }) => isLearner);
      for (const learner of learners) if (!signal.aborted) await this.#promote(learner);
      this.#nap = new AbortController();
      const nap = AbortSignal.any([this.#nap.signal, signal]);
      await clock.sleep(learners.length > 0 ? PROMOTE_EVERY_MS : LOOK_EVERY_MS, nap);
    }
  }

  async #join(wish: ServerWish): Promise<ServerGrant> {
    const { gateway, records, formation, server, token, dataDir, log } = this.#deps;
    const { name, address, url, peerUrl } = wish;
    formation.check(wish);
    for (const record of records.list()) {
      if (record.name !== name && record.url !== url) continue;
      this.#refuseIfUp(record, wish);
      await records.remove(record.name);
    }
    const member = await gateway.addLearner(peerUrl).catch((error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      const why = error.message.includes("too many learner") ? "another server is just joining" : error.message;
      throw new AppError("unavailable", `Cannot take server "${name}" now: ${why}`, { cause: error });
    });
    await records.put({ name, address, url, peer: peerUrl.replace("https://", ""), memberId: member.id });
    this.#nap.abort();
    log.info("Server joins", { node: name, address });
    const nameOf = new Map(records.list().map((record) => [record.memberId, record.name]));
    const members = (await gateway.members()).map((each) => ({
      name: nameOf.get(each.id) ?? each.name,
      peerUrl: each.peerUrls[0] ?? "",
    }));
    const group = { state: "existing", members, urls: records.list().map((record) => record.url) } as const;
    const { joinToken } = server;
    return { ca: readAuthority(serverPaths(dataDir).tls), joinToken, serverToken: token.text, group };
  }

  #votersOf(members: readonly EtcdMember[]): readonly string[] {
    const voters = new Set(members.flatMap(({ id, isLearner }) => (isLearner ? [] : [id])));
    return this.#deps.records.list().flatMap(({ memberId, name }) => (voters.has(memberId) ? [name] : []));
  }

  /** Who comes again under a name or at a place has lost what it knew, or is another one. */
  #refuseIfUp({ name: present, url: presentUrl }: ServerRecord, { name, url }: ServerWish): void {
    const { server, formation } = this.#deps;
    const { cluster } = server;
    const host = cluster.state.hostByName(present);
    // While servers are waited for none is a node yet: two of one name would else take turns for ever.
    const other = formation.waits && presentUrl !== url ? "up" : "down";
    const phase = host === null ? other : cluster.liveness.presenceOf(host.id).phase;
    if (phase === "down") return;
    // At one place there is one process: this one has lost its data, and the other was not missed yet.
    const isItself = present === name && presentUrl === url;
    const code = phase === "up" && !isItself ? "conflict" : "unavailable";
    throw new AppError(code, `Cannot take server "${name}" at ${url}: server "${present}" is there (${phase})`, {
      hint: isItself
        ? "It is taken in the place of the former one within three seconds"
        : "Give each server its own --node and --bind",
    });
  }

  async #promote({ id, name }: EtcdMember): Promise<void> {
    const { gateway, records, clock, log } = this.#deps;
    const sinceMs = this.#sinceMs.get(id) ?? clock.monotonicMs();
    this.#sinceMs.set(id, sinceMs);
    const promoted = await gateway.promoteMember(id).then(() => true, onlyAppError);
    if (promoted === true) {
      log.info("Server has joined", { node: name });
      return;
    }
    if (clock.monotonicMs() - sinceMs < ABSENT_MS_MAX) return;
    const record = records.list().find(({ memberId }) => memberId === id);
    log.warn("A server that was to join did not come", { node: record?.name ?? name });
    await (record === undefined ? gateway.removeMember(id) : records.remove(record.name)).catch(onlyAppError);
  }
}

function onlyAppError(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
