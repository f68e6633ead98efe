import type { HttpRequest, HttpResponse } from "../../platform/ports/http.ts";

/**
 * Sends a client to the path that it meant, as Consul does (its router is Go's): doubled slashes are one, and what has things below
 * it ends in a slash. Clients that put `/v1/kv/` before `/a`, or an address that ends in a slash before `/v1/kv/a`, follow it. Who
 * means a key with doubled slashes writes them as %2F.
 */
export function redirectPath(
  { path, query }: Pick<HttpRequest, "path" | "query">,
  isFolder: (path: string) => boolean,
): HttpResponse | null {
  const single = path.replaceAll(/\/{2,}/g, "/");
  const meant = isFolder(single) ? `${single}/` : single;
  if (meant === path) return null;
  const search = new URLSearchParams();
  const names = query.names();
  for (const name of names) {
    // `all` has those of `name[]`, too.
    if (name.endsWith("[]") && names.includes(name.slice(0, -2))) continue;
    for (const value of query.all(name)) search.append(name, value);
  }
  const location = search.size === 0 ? meant : `${meant}?${search.toString()}`;
  return { status: 301, headers: { location }, body: "" };
}
