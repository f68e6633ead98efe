import { AppError, describeError } from "../../model/error.ts";
import type { HttpResponse } from "../ports/http.ts";
import type { ServerApi, ServerRequest } from "../ports/server-api.ts";

export interface HttpsServerApiOptions {
  /** PEM of the cluster's CA: no other is trusted. */
  readonly caPem: string;
  /** The name in the server's certificate, whatever address is dialled. */
  readonly serverName: string;
}

/** Bun 1.4 reads this at the start of the process; beyond it requests wait for others to end. */
const CONCURRENCY_VARIABLE = "BUN_CONFIG_MAX_HTTP_REQUESTS";
const CONCURRENCY_DEFAULT = 256;

/** Bun's fetch keeps connections open by itself, with their TLS options. */
export function httpsServerApi({ caPem, serverName }: HttpsServerApiOptions): ServerApi {
  const tls = { ca: caPem, serverName };
  return {
    concurrencyMax: Number(process.env[CONCURRENCY_VARIABLE]) || CONCURRENCY_DEFAULT,
    send: (request) => send(request, tls),
  };
}

async function send({ url, target, method, headers, body, signal }: ServerRequest, tls: object): Promise<HttpResponse> {
  // `timeout: false`: a query may wait for ten minutes. `decompress: false`: what is packed goes on packed.
  const init = {
    method,
    headers,
    redirect: "manual",
    signal,
    tls,
    timeout: false,
    decompress: false,
    ...(body === null ? {} : { body }),
  };
  try {
    const response = await fetch(`${url}${target}`, init as unknown as RequestInit);
    const known = Object.fromEntries(response.headers);
    return { status: response.status, headers: known, body: chunks(response) };
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new AppError("unavailable", `Cannot reach server ${url}: ${describeError(cause)}`, { cause });
  }
}

async function* chunks(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  yield* response.body as unknown as AsyncIterable<Uint8Array>;
}
