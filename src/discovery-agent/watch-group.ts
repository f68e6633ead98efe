/** Who of the servers is missing while none leads: for the log, and for lists of members that nobody who leads can tell. */
import { SERVER_TLS_NAME } from "../model/server-name.ts";
import { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { JoinClient } from "../platform/ports/join-client.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Replica } from "../platform/ports/replica.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { RECORDS, type ServerRecord } from "./server-records.ts";

export interface GroupWatchDeps {
  readonly replica: Replica;
  /** Name of this server. */
  readonly self: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly client?: Pick<JoinClient, "fetchCa">;
}

const LOOK_EVERY_MS = 1000;
/** A change of leader takes four seconds: what takes longer has another cause. */
const PATIENCE_MS = 6000;

export class GroupWatch {
  readonly #deps: GroupWatchDeps;
  readonly #client: Pick<JoinClient, "fetchCa">;
  #missing: ReadonlySet<string> = new Set();
  #told = "";

  constructor(deps: GroupWatchDeps) {
    this.#deps = deps;
    this.#client = deps.client ?? httpsJoinClient(SERVER_TLS_NAME);
  }

  /** Names of servers that did not answer; none while there is a leader, who knows better. */
  missing(): ReadonlySet<string> {
    return this.#missing;
  }

  /** Runs until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { replica, clock } = this.#deps;
    while (!signal.aborted) {
      await clock.sleep(LOOK_EVERY_MS, signal);
      if (signal.aborted) return;
      if (replica.leader() !== null) this.#isLed();
      else if (replica.contactMs() > PATIENCE_MS) await this.#look().catch(onlyAppError);
    }
  }

  #isLed(): void {
    this.#missing = new Set();
    if (this.#told !== "") this.#deps.log.info("A server leads again");
    this.#told = "";
  }

  async #look(): Promise<void> {
    const { replica, self, log } = this.#deps;
    const view = await replica.open();
    const servers = (await view.list(RECORDS)).map(({ value }) => value as ServerRecord);
    const others = servers.filter(({ name }) => name !== self);
    const answers = await Promise.all(others.map(({ url }) => this.#client.fetchCa(url).then(isThere, onlyAppError)));
    const missing = others.filter((_, at) => answers[at] !== true);
    this.#missing = new Set(missing.map(({ name }) => name));
    const text = renderNoLeader(servers.length, missing);
    if (text === this.#told) return;
    this.#told = text;
    log.warn(text, { hint: HINT });
  }
}

const HINT =
  "Start the missing servers again with the data directories that they had; nothing is written until a majority is there";

/** Which servers are missed, and of how many more there have to be. */
export function renderNoLeader(count: number, missing: readonly Pick<ServerRecord, "name" | "address">[]): string {
  const here = count - missing.length;
  const needed = Math.floor(count / 2) + 1;
  const names = missing.map(({ name, address }) => `${name} at ${address}`).join(", ");
  if (missing.length === 0) return `No server leads, though all ${count} answer: a leader is being chosen`;
  return `No server leads: ${here} of ${count} servers ${here === 1 ? "answers" : "answer"}, ${needed} are needed; missing: ${names}`;
}

function isThere(): true {
  return true;
}

function onlyAppError(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
