/**
 * The console's files, out of the compiled binary or, when running from source, out of `dist/console`. They are read
 * once and kept with a gzipped form: about 300 KB for the life of the server.
 */

export interface ConsoleAsset {
  readonly body: Uint8Array<ArrayBuffer>;
  /** Null where compressing gains nothing. */
  readonly gzipped: Uint8Array<ArrayBuffer> | null;
  readonly type: string;
  /** Quoted, as the header has it. */
  readonly etag: string;
  /** The name carries a hash of the content: a browser may keep it for ever. */
  readonly immutable: boolean;
}

/**
 * Only our own files, no inline script or style, no frames. `connect-src 'self'` covers the feed's WebSocket of the
 * same origin. React sets styles through the object model, which the policy allows.
 */
export const CONSOLE_CSP =
  "default-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

export class ConsoleAssets {
  readonly #assets: ReadonlyMap<string, ConsoleAsset>;

  private constructor(assets: ReadonlyMap<string, ConsoleAsset>) {
    this.#assets = assets;
  }

  /** Reads all files; without a build there are none, and `respond` says how to make one. */
  static async open(): Promise<ConsoleAssets> {
    return ConsoleAssets.read(await bundleFiles());
  }

  /** @param files paths by name; one of them is "index.html". */
  static async read(files: Readonly<Record<string, string>>): Promise<ConsoleAssets> {
    const assets = new Map<string, ConsoleAsset>();
    for (const [name, path] of Object.entries(files)) {
      assets.set(name, makeAsset(name, await Bun.file(path).bytes()));
    }
    return new ConsoleAssets(assets);
  }

  /** The asset at a path below `/ui/`: "" is the page itself. Names are looked up in a list, so no path can leave it. */
  find(path: string): ConsoleAsset | null {
    return this.#assets.get(path === "" ? "index.html" : path) ?? null;
  }

  /** Answers a request for `/ui` or anything below; null for other paths. */
  respond(request: Request): Response | null {
    const { pathname } = new URL(request.url);
    if (pathname === "/ui") return new Response(null, { status: 308, headers: { location: "ui/" } });
    if (!pathname.startsWith("/ui/")) return null;
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response(null, { status: 405, headers: { allow: "GET, HEAD" } });
    }
    if (this.#assets.size === 0) {
      return new Response("The console is not built. Build it with: npm run build\n", { status: 503, headers: SAFE });
    }
    const asset = this.find(pathname.slice("/ui/".length));
    return asset === null ? new Response("Not found\n", { status: 404, headers: SAFE }) : answer(request, asset);
  }
}

const SAFE: Readonly<Record<string, string>> = {
  "content-security-policy": CONSOLE_CSP,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};

function answer(request: Request, asset: ConsoleAsset): Response {
  const headers: Record<string, string> = {
    ...SAFE,
    "content-type": asset.type,
    "cache-control": asset.immutable ? "public, max-age=31536000, immutable" : "no-cache",
    etag: asset.etag,
    vary: "accept-encoding",
  };
  if (request.headers.get("if-none-match")?.includes(asset.etag) === true) {
    return new Response(null, { status: 304, headers });
  }
  const gzip = asset.gzipped !== null && /\bgzip\b/.test(request.headers.get("accept-encoding") ?? "");
  if (gzip) headers["content-encoding"] = "gzip";
  const body = gzip && asset.gzipped !== null ? asset.gzipped : asset.body;
  return new Response(request.method === "HEAD" ? null : body, { headers });
}

function makeAsset(name: string, body: Uint8Array<ArrayBuffer>): ConsoleAsset {
  const gzipped = Bun.gzipSync(body);
  return {
    body,
    gzipped: gzipped.length < body.length * 0.9 ? gzipped : null,
    type: TYPES[name.split(".").at(-1) ?? ""] ?? "application/octet-stream",
    etag: `"${Bun.hash(body).toString(36)}"`,
    immutable: /-[a-z0-9]{8}\.[a-z]+$/.test(name),
  };
}

async function bundleFiles(): Promise<Readonly<Record<string, string>>> {
  try {
    return (await import("../../dist/console/bundle.js")).files;
  } catch {
    // Running from source before the first build.
    return {};
  }
}
