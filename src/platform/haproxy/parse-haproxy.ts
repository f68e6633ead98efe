import type { ProxyServer } from "../ports/proxy.ts";

export interface ProxyInfo {
  readonly pid: number;
  /** Digest that the running configuration carries in its `description`, null for a configuration that is not ours. */
  readonly structure: string | null;
}

/** Reads `show info` of HAProxy 2.6 ("Key: value" lines); null when it has no process id. */
export function parseInfo(text: string): ProxyInfo | null {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) values.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 2).trim());
  }
  const pid = Number(values.get("pid"));
  if (!Number.isInteger(pid) || pid <= 0) return null;
  const structure = /^apollo-structure-([0-9a-f]+)$/.exec(values.get("description") ?? "")?.[1] ?? null;
  return { pid, structure };
}

export interface ProxyStatistics {
  readonly backends: readonly string[];
  readonly servers: readonly ProxyServer[];
}

/**
 * Reads `show stat -1 6 -1` (backends and servers as CSV with a commented header). Columns are found by name, since
 * each HAProxy version appends some. HAProxy quotes no value that we put there: names and addresses have no comma.
 */
export function parseStatistics(text: string): ProxyStatistics {
  const [header = "", ...lines] = text.split("\n");
  const columns = new Map(
    header
      .replace(/^#\s*/, "")
      .split(",")
      .map((name, index) => [name, index]),
  );
  const backends: string[] = [];
  const servers: ProxyServer[] = [];
  for (const line of lines) {
    const fields = line.split(",");
    const read = (name: string): string => fields[columns.get(name) ?? -1] ?? "";
    const backend = read("pxname");
    const name = read("svname");
    if (name === "BACKEND") backends.push(backend);
    if (name === "" || name === "BACKEND" || name === "FRONTEND") continue;
    const address = read("addr");
    const colon = address.lastIndexOf(":");
    servers.push({
      backend,
      name,
      // HAProxy writes an IPv6 address in brackets.
      address: address.slice(0, colon).replaceAll(/[[\]]/g, ""),
      port: Number(address.slice(colon + 1)),
      state: parseState(read("status")),
      sessions: Number(read("scur")) + Number(read("qcur")),
      idle: Number(read("idle_conn_cur")),
    });
  }
  return { backends, servers };
}

/** `status` is "no check", "UP", "DOWN 1/2", "DRAIN", "MAINT", "MAINT (via …)" or "MAINT (resolution)". */
function parseState(status: string): ProxyServer["state"] {
  if (status.startsWith("MAINT")) return "maint";
  return status.startsWith("DRAIN") ? "drain" : "ready";
}

/** Reads a map file, or `show map FILE` with its leading pointers: "key value" a line, `#` starts a comment. */
export function parseMap(text: string, form: "file" | "socket"): Readonly<Record<string, string>> {
  const entries: [string, string][] = [];
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (form === "socket") fields.shift();
    const [key, value] = fields;
    if (key !== undefined && key !== "" && value !== undefined && !key.startsWith("#")) entries.push([key, value]);
  }
  return Object.fromEntries(entries);
}

/** The file that HAProxy loads a map from; sorted. */
export function renderMap(map: Readonly<Record<string, string>>): string {
  return Object.keys(map)
    .toSorted()
    .map((key) => `${key} ${map[key]}\n`)
    .join("");
}
