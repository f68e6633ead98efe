import type { AppView } from "../../scheduling/app-service.ts";
import { renderApp, type Embeds } from "./render-app.ts";
import type { Json } from "./render-definition.ts";

/** Version of a group that nothing was ever put into. */
const NEVER = "1970-01-01T00:00:00.000Z";

/**
 * The group at `path` (segments; [] is the root) with all below it, or null when no app is in it. Groups are not
 * stored: they are the paths of apps.
 */
export function renderGroup(views: readonly AppView[], path: readonly string[], embeds: Embeds): Json | null {
  const prefix = path.length === 0 ? "/" : `/${path.join("/")}/`;
  const inside = views.filter((view) => view.current.spec.id.startsWith(prefix));
  if (inside.length === 0 && path.length > 0) return null;
  const names = new Set<string>();
  const apps: Json[] = [];
  for (const view of inside) {
    const [name = "", ...rest] = view.current.spec.id.slice(prefix.length).split("/");
    if (rest.length === 0) apps.push(renderApp(view, embeds));
    else names.add(name);
  }
  return {
    id: prefix === "/" ? "/" : prefix.slice(0, -1),
    apps,
    pods: [],
    groups: [...names].toSorted().map((name) => renderGroup(inside, [...path, name], embeds)),
    dependencies: [],
    version: inside.reduce((latest, { current }) => (current.version > latest ? current.version : latest), NEVER),
    enforceRole: false,
  };
}
