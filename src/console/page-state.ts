/**
 * Everything a person chose is in the address: page, search, selection, form of the map. It lies behind the `#`, so the
 * page works under any path prefix and the server needs to know one file only.
 */
export type Page =
  | { readonly name: "overview" }
  | { readonly name: "apps" }
  | { readonly name: "app"; readonly id: string }
  | { readonly name: "services" }
  | { readonly name: "hosts" };

export interface Selection {
  readonly kind: "host" | "instance";
  readonly key: string;
}

export interface PageState {
  readonly page: Page;
  readonly query: string;
  readonly selection: Selection | null;
  /** The map's twin for keyboards and screen readers. */
  readonly asTable: boolean;
}

export const FIRST_PAGE: PageState = { page: { name: "overview" }, query: "", selection: null, asTable: false };

/** Reads `#/apps/web?q=text`; whatever it does not know leads to the overview. */
export function parsePageState(hash: string): PageState {
  const [path, search] = splitOnce(hash.replace(/^#\/?/, ""), "?");
  const parameters = new URLSearchParams(search);
  return {
    page: parsePage(path),
    query: parameters.get("q") ?? "",
    selection: parseSelection(parameters.get("select")),
    asTable: parameters.get("as") === "table",
  };
}

/** The address of a state, from the `#` on; `parsePageState` reads it back. */
export function formatPageState(state: PageState): string {
  const parameters = new URLSearchParams();
  if (state.query !== "") parameters.set("q", state.query);
  if (state.selection !== null) parameters.set("select", `${state.selection.kind}:${state.selection.key}`);
  if (state.asTable) parameters.set("as", "table");
  const search = parameters.toString();
  return `#/${formatPage(state.page)}${search === "" ? "" : `?${search}`}`;
}

/** Address of a page with nothing searched or selected. */
export function pageHref(page: Page): string {
  return formatPageState({ ...FIRST_PAGE, page });
}

function parsePage(path: string): Page {
  const [first, rest] = splitOnce(path, "/");
  if (first === "apps" && rest !== "") return { name: "app", id: `/${decodePath(rest)}` };
  if (first === "apps" || first === "services" || first === "hosts") return { name: first };
  return { name: "overview" };
}

function formatPage(page: Page): string {
  if (page.name === "app") return `apps/${page.id.replace(/^\//, "").split("/").map(encodeURIComponent).join("/")}`;
  return page.name === "overview" ? "" : page.name;
}

function parseSelection(text: string | null): Selection | null {
  const [kind, key] = splitOnce(text ?? "", ":");
  return (kind === "host" || kind === "instance") && key !== "" ? { kind, key } : null;
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
