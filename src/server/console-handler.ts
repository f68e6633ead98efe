import type { HttpHandler, HttpResponse } from "../platform/ports/http.ts";
import { CONSOLE_CSP, type ConsoleAssets } from "./console-assets.ts";

const SAFE: Readonly<Record<string, string>> = {
  "content-security-policy": CONSOLE_CSP,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};

/** `/ui/…` from the files in the binary. Needs no token: the page holds nothing but the program that asks for one. */
export function consoleHandler(assets: ConsoleAssets): HttpHandler {
  return async (request): Promise<HttpResponse> => {
    if (request.method !== "GET" && request.method !== "HEAD")
      return plain(405, "Method Not Allowed", { allow: "GET, HEAD" });
    if (request.path === "/ui") return { status: 308, headers: { location: "ui/" }, body: null };
    const asset = assets.find(request.path.slice("/ui/".length));
    if (asset === null) return plain(404, "Not found. If the console was not built: npm run build");
    const headers: Record<string, string> = {
      ...SAFE,
      "content-type": asset.type,
      "cache-control": asset.immutable ? "public, max-age=31536000, immutable" : "no-cache",
      etag: asset.etag,
      vary: "accept-encoding",
    };
    if (request.header("if-none-match")?.includes(asset.etag) === true) return { status: 304, headers, body: null };
    const gzipped = /\bgzip\b/.test(request.header("accept-encoding") ?? "") ? asset.gzipped : null;
    if (gzipped !== null) headers["content-encoding"] = "gzip";
    return { status: 200, headers, body: request.method === "HEAD" ? null : (gzipped ?? asset.body) };
  };
}

/** `/` leads to the console, as Marathon's does. */
export const toConsole: HttpHandler = async (request) =>
  request.path === "/"
    ? { status: 302, headers: { location: "/ui/" }, body: null }
    : plain(404, `Cannot find "${request.path}"`);

function plain(status: number, text: string, headers: Readonly<Record<string, string>> = {}): HttpResponse {
  return { status, headers: { ...SAFE, ...headers, "content-type": "text/plain; charset=utf-8" }, body: `${text}\n` };
}
