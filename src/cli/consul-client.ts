/** Consul's API as the CLI asks it: over the server's HTTPS port, with the CLI's own token. */
import { AppError } from "../model/error.ts";
import { parseExactJson } from "../model/exact-json.ts";
import { type ApolloClient, connectionError } from "./client.ts";
import { Interrupted } from "./format-error.ts";

export interface ConsulAnswer {
  readonly status: number;
  readonly bytes: Uint8Array;
  /** To wait for a later one with. */
  readonly index: string;
}

export interface ConsulRequest {
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | object;
  readonly signal?: AbortSignal;
}

/** How long a watch asks the server to wait before it says that nothing changed. */
export const WATCH_WAIT_S = 60;
const REQUEST_TIMEOUT_MS = 30_000;
/** Servers answer up to a sixteenth of the wait later than asked, and a little on top. */
const WATCH_TIMEOUT_MS = WATCH_WAIT_S * 1000 * 1.1 + 5000;

export class ConsulClient {
  readonly #client: ApolloClient;
  readonly #signal: AbortSignal;

  /** `signal`: Ctrl-C. */
  constructor(client: ApolloClient, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  /** An answer that is not found is given back as it is. @throws AppError in the server's words. */
  async ask(method: string, path: string, request: ConsulRequest = {}): Promise<ConsulAnswer> {
    const { query = {}, body } = request;
    const search = new URLSearchParams(query).toString();
    const url = `${this.#client.connection.url}/v1/${path}${search === "" ? "" : `?${search}`}`;
    const timeout = AbortSignal.timeout("index" in query ? WATCH_TIMEOUT_MS : REQUEST_TIMEOUT_MS);
    const own = request.signal === undefined ? [] : [request.signal];
    try {
      const response = await fetch(url, {
        method,
        redirect: "manual",
        headers: this.#client.headers(),
        signal: AbortSignal.any([this.#signal, timeout, ...own]),
        tls: this.#client.tls(),
        ...(body === undefined ? {} : { body: body instanceof Uint8Array ? body : JSON.stringify(body) }),
      } as RequestInit);
      const bytes = new Uint8Array(await response.arrayBuffer());
      const { status } = response;
      if (status !== 200 && status !== 404) throw refusal(status, bytes, `${method} /v1/${path}`);
      return { status, bytes, index: response.headers.get("x-consul-index") ?? "0" };
    } catch (error) {
      if (error instanceof AppError) throw error;
      if (this.#signal.aborted || request.signal?.aborted === true) throw new Interrupted();
      throw connectionError(error, this.#client.connection, timeout.aborted);
    }
  }

  /** JSON of an answer; numbers that no double holds are bigints. Null when it is not found. */
  async find<T>(path: string, request: ConsulRequest = {}): Promise<T | null> {
    const { status, bytes } = await this.ask("GET", path, request);
    return status === 404 ? null : (parseExactJson(new TextDecoder().decode(bytes)) as T);
  }

  /** What is said to a change: true or false, or nothing. @throws AppError `not-found` for what is not there. */
  async change(method: "PUT" | "DELETE", path: string, request: ConsulRequest = {}): Promise<boolean> {
    const { status, bytes } = await this.ask(method, path, request);
    const text = new TextDecoder().decode(bytes).trim();
    if (status === 404) throw new AppError("not-found", text === "" ? `Cannot find ${path}` : text);
    return text !== "false";
  }

  /** Calls `see` with each answer whose index is another, until Ctrl-C or `see` gives true. */
  async watch(
    path: string,
    query: Readonly<Record<string, string>>,
    see: (answer: ConsulAnswer) => boolean | void | Promise<void>,
  ): Promise<void> {
    let index = "0";
    while (!this.#signal.aborted) {
      const wait = index === "0" ? {} : { index, wait: `${WATCH_WAIT_S}s` };
      const answer = await this.ask("GET", path, { query: { ...query, ...wait } });
      if (answer.index === index) continue;
      if ((await see(answer)) === true) return;
      // A server that counts anew has forgotten ours.
      index = BigInt(answer.index) < BigInt(index) ? "0" : answer.index;
    }
  }
}

/** Segments are encoded one by one: a key's slashes are its own. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

function refusal(status: number, bytes: Uint8Array, what: string): AppError {
  const text = new TextDecoder().decode(bytes).trim().slice(0, 1000);
  const message = text === "" ? `Cannot ${what}: the server answers with status ${status}` : text;
  const code = status === 401 || status === 403 ? "denied" : status < 500 ? "invalid" : "unavailable";
  return new AppError(code, message);
}
