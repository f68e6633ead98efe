import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { AppError, describeError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { HttpRequest, HttpResponse } from "../ports/http.ts";
import type { Log } from "../ports/log.ts";
import type { UnixListenOptions, UnixListener } from "../ports/unix-listener.ts";
import { wrapRequest } from "./bun-request.ts";
import { toBunResponse } from "./bun-response.ts";

const PEER: HttpRequest["peer"] = { address: "unix", loopback: true, secure: true };

/** Serves HTTP on socket files with Bun's server. */
export class BunUnixListener implements UnixListener {
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(options: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = options.clock;
    this.#log = options.log;
  }

  async listen(options: UnixListenOptions): Promise<{ close(): Promise<void> }> {
    const { path } = options;
    if (await isServed(path)) {
      throw new AppError("conflict", `Cannot listen on ${path}: another program does`, {
        hint: `See which one: ss -lxp src ${path}`,
      });
    }
    const server = this.#serve(options);
    return {
      close: async () => {
        await server.stop(true);
        rmSync(path, { force: true });
      },
    };
  }

  #serve(options: UnixListenOptions): Bun.Server<undefined> {
    const { path, mode } = options;
    // The file is made with its final mode: between making and changing it somebody else could connect.
    const umask = process.umask(0o777 & ~mode);
    try {
      if (!existsSync(dirname(path))) mkdirSync(dirname(path), { recursive: true });
      rmSync(path, { force: true });
      return Bun.serve({
        unix: path,
        // Refused by us at our own limit, with an answer.
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
        fetch: (request) => this.#answer(options, request),
      });
    } catch (cause) {
      throw new AppError("unavailable", `Cannot listen on ${path}: ${describeError(cause)}`, {
        cause,
        hint: "Check that its directory is there and can be written",
      });
    } finally {
      process.umask(umask);
    }
  }

  async #answer(options: UnixListenOptions, raw: Request): Promise<Response> {
    const late = new AbortController();
    const done = new AbortController();
    const signal = AbortSignal.any([raw.signal, late.signal]);
    const request = wrapRequest(raw, {
      peer: () => PEER,
      bodyBytesMax: () => options.bodyBytesMax,
      signal: () => signal,
    });
    const timeout = this.#clock.sleep(options.requestTimeoutMs, done.signal).then((): HttpResponse => {
      if (!done.signal.aborted) late.abort();
      return { status: 503, headers: {}, body: "No answer in time" };
    });
    try {
      const response = await Promise.race([options.handle(request), timeout]);
      return toBunResponse(response, request);
    } catch (error) {
      this.#log.error(`Request on ${options.path} failed`, { error, path: request.path });
      return new Response("Internal error", { status: 500 });
    } finally {
      done.abort();
    }
  }
}

/** Whether a process accepts connections there: a killed one leaves its file, and that refuses. */
async function isServed(path: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => undefined } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}
