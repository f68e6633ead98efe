import type { HttpRequest } from "../platform/ports/http.ts";

/** A request as the HTTP adapter would hand it over; `body` is sent as it is when a string, else as JSON. */
export function fakeRequest(
  method: string,
  target: string,
  options: { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> } = {},
): HttpRequest {
  const mark = target.indexOf("?");
  const query = new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1));
  const { body, headers = {} } = options;
  const text = typeof body === "string" ? body : body === undefined ? "" : JSON.stringify(body);
  return {
    method,
    path: mark < 0 ? target : target.slice(0, mark),
    query: {
      get: (name) => query.get(name),
      all: (name) => [...query.getAll(name), ...query.getAll(`${name}[]`)],
      names: () => [...new Set(query.keys())],
    },
    header: (name) => headers[name] ?? null,
    body: async () => new TextEncoder().encode(text),
    peer: { address: "192.0.2.9", loopback: false, secure: true },
    signal: new AbortController().signal,
  };
}
