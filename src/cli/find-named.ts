import type { AppJson, HostJson, InstanceJson } from "../api/native/shapes.ts";
import { AppError } from "../model/error.ts";
import { appPath, type ApolloClient } from "./client.ts";
import { formatSuggestion } from "./suggest-name.ts";

/** App ids are shown and typed without the leading slash. */
export function shownApp(id: string): string {
  return id.replace(/^\/+/, "");
}

/** Enough of an instance's id to tell it from others: the first part of its UUID. */
export function shownInstance(id: string): string {
  return uuidOf(id).slice(0, 8);
}

function uuidOf(id: string): string {
  return id.slice(id.lastIndexOf(".instance-") + (id.includes(".instance-") ? ".instance-".length : 1));
}

/**
 * Runs `body` for an app. When none has that id, but exactly one app runs the service of that name, that one is meant; else
 * apps with a similar id are named.
 */
export async function withApp<T>(client: ApolloClient, id: string, body: (id: string) => Promise<T>): Promise<T> {
  try {
    return await body(id);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "not-found") throw error;
    const apps = await client.get<readonly AppJson[]>("/api/apps");
    if (apps.some((app) => shownApp(app.id) === shownApp(id))) throw error;
    const [meant, ...others] = apps.filter(({ service }) => service === shownApp(id));
    if (meant !== undefined && others.length === 0) return await body(shownApp(meant.id));
    throw notFound(
      "app",
      shownApp(id),
      apps.map((app) => shownApp(app.id)),
    );
  }
}

/** Runs `body`; when the host does not exist, names those with a similar name. */
export async function withHost<T>(client: ApolloClient, name: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "not-found") throw error;
    const hosts = await client.get<readonly HostJson[]>("/api/hosts");
    throw notFound(
      "host",
      name,
      hosts.map((host) => host.name),
    );
  }
}

export async function getApp(client: ApolloClient, id: string): Promise<AppJson> {
  return await withApp(client, id, (found) => client.get<AppJson>(appPath(found)));
}

/** "There is no X": with near names, else with the command that lists what there is. */
export function notFound(kind: string, name: string, known: readonly string[]): AppError {
  const list = kind === "instance" ? "apollo ps" : `apollo ${kind} list`;
  return new AppError("not-found", `Cannot find ${kind} "${name}"`, {
    hint: formatSuggestion(name, known) ?? `Run "${list}" to see what there is`,
  });
}

export interface FoundInstances {
  /** Set when the name was that of an app. */
  readonly app: string | null;
  /** At least one; those of an app sorted as the server lists them. */
  readonly instances: readonly InstanceJson[];
}

/**
 * Instances by the id of one, a unique prefix of it or of its UUID, or the id of an app.
 * @throws AppError `not-found`, or `invalid` for a prefix of several.
 */
export async function findInstances(client: ApolloClient, name: string): Promise<FoundInstances> {
  const all = await client.get<readonly InstanceJson[]>("/api/instances");
  const exact = all.filter((instance) => instance.id === name);
  if (exact.length === 1) return { app: null, instances: exact };
  const ofApp = all.filter((instance) => shownApp(instance.app) === shownApp(name));
  if (ofApp.length > 0) return { app: shownApp(name), instances: ofApp };
  const matches = all.filter((instance) => instance.id.startsWith(name) || uuidOf(instance.id).startsWith(name));
  if (matches.length === 1) return { app: null, instances: matches };
  if (matches.length > 1) {
    const ids = matches.map((instance) => instance.id).toSorted();
    throw new AppError("invalid", `Cannot tell which instance "${name}" is: ${matches.length} begin so`, {
      hint: `Type more of it: ${ids.slice(0, 3).join(", ")}${ids.length > 3 ? ", …" : ""}`,
    });
  }
  const apps = await client.get<readonly AppJson[]>("/api/apps");
  const app = apps.find((one) => shownApp(one.id) === shownApp(name));
  if (app !== undefined) {
    throw new AppError("not-found", `Cannot find an instance of app "${shownApp(name)}": none runs`, {
      hint: app.instances === 0 ? `Run "apollo app scale ${shownApp(name)} 1"` : `Run "apollo why ${shownApp(name)}"`,
    });
  }
  throw notFound("instance", name, [
    ...apps.map((one) => shownApp(one.id)),
    ...all.map((one) => shownInstance(one.id)),
  ]);
}
