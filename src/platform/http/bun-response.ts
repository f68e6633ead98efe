import { spellHeaders } from "./spell-headers.ts";
import type { HttpRequest, HttpResponse } from "../ports/http.ts";

/** Below this the gzip frame and the time cost more than they save. */
const GZIP_BYTES_MIN = 1024;

/** Packed bodies: an answer that a thousand clients waited for is packed once. */
const packed = new WeakMap<HttpResponse, Uint8Array<ArrayBuffer>>();

/** Makes Bun's response; packs text when the client asks for it (marathonctl never does, and cannot read it). */
export function toBunResponse(response: HttpResponse, request: HttpRequest): Response {
  const { status, body } = response;
  // The common case, text under its own type that is short or wanted as it is, needs no copy of its headers or bytes.
  if (
    typeof body === "string" &&
    response.headers["content-type"] !== undefined &&
    (body.length < GZIP_BYTES_MIN || !acceptsGzip(request))
  )
    return new Response(status === 204 || status === 304 ? null : body, {
      status,
      headers: spellHeaders(response.headers),
    });
  const headers = new Headers(spellHeaders(response.headers));
  if (body === null || status === 204 || status === 304) return new Response(null, { status, headers });
  if (typeof body !== "string" && !(body instanceof Uint8Array))
    return new Response(streamOf(body), { status, headers });
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  if (acceptsGzip(request) && bytes.byteLength >= GZIP_BYTES_MIN && !headers.has("content-encoding")) {
    headers.set("Content-Encoding", "gzip");
    headers.append("Vary", "accept-encoding");
    const known = packed.get(response) ?? Bun.gzipSync(bytes, { level: 1 });
    packed.set(response, known);
    return new Response(known, { status, headers });
  }
  return new Response(bytes, { status, headers });
}

function acceptsGzip(request: HttpRequest): boolean {
  return /(^|[\s,])(gzip|\*)\s*(;\s*q=(1|0\.0*[1-9])[0-9.]*)?\s*(,|$)/.test(request.header("accept-encoding") ?? "");
}

/** Pulls one chunk at a time, so a slow client holds the source back; ends the source when the client goes. */
function streamOf(chunks: AsyncIterable<Uint8Array | string>): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await iterator.next();
      if (next.done === true) controller.close();
      else controller.enqueue(typeof next.value === "string" ? encoder.encode(next.value) : new Uint8Array(next.value));
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
