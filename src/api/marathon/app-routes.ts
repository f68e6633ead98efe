import type { AppSpec } from "../../model/app.ts";
import { AppError } from "../../model/error.ts";
import { parseAppId, parseVersion, type AppId, type Version } from "../../model/ids.ts";
import type { HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { AppChange, AppService, AppView, InstanceView } from "../../scheduling/app-service.ts";
import { expectObject, parseJsonBody } from "../read-json.ts";
import { isReadOnlyField } from "./app-fields.ts";
import { parseLabelSelector } from "./label-selector.ts";
import { mergeApp } from "./merge-app.ts";
import { parseApp } from "./parse-app.ts";
import { LIST_EMBEDS, parseEmbeds, renderApp, renderCreated, renderVersion, SHOW_EMBEDS } from "./render-app.ts";
import { instanceIdOf, renderTask, renderTasksText } from "./render-task.ts";
import {
  badRequest,
  deploymentHeader,
  deploymentResult,
  flag,
  json,
  methodNotAllowed,
  notFound,
  text,
} from "./respond.ts";

/** `/v2/apps…`; `segments` are what follows "apps". */
export async function routeApps(
  apps: AppService,
  request: HttpRequest,
  segments: readonly string[],
): Promise<HttpResponse> {
  if (segments.length === 0) return await collection(apps, request);
  const last = segments.at(-1);
  const before = segments.at(-2);
  // An id needs a segment of its own before a fixed word: /v2/apps/tasks is an app of that name, if an unlikely one.
  if (segments.length >= 3 && before === "tasks") return await oneTask(apps, request, segments);
  if (segments.length >= 3 && before === "versions") return await oneVersion(apps, request, segments);
  if (segments.length >= 2 && last === "tasks") return await tasks(apps, request, segments.slice(0, -1));
  if (segments.length >= 2 && last === "versions") return await versions(apps, request, segments.slice(0, -1));
  if (segments.length >= 2 && last === "restart") return await restart(apps, request, segments.slice(0, -1));
  if (last === "*") return groupApps(apps, request, segments.slice(0, -1));
  return await oneApp(apps, request, segments);
}

async function collection(apps: AppService, request: HttpRequest): Promise<HttpResponse> {
  switch (request.method) {
    case "GET":
    case "HEAD":
      return list(apps, request);
    case "POST":
      return await create(apps, request);
    case "PUT":
    case "PATCH":
      return await changeMany(apps, request);
    default:
      return methodNotAllowed(["GET", "POST", "PUT", "PATCH"]);
  }
}

function list(apps: AppService, request: HttpRequest): HttpResponse {
  const embeds = parseEmbeds(request.query.all("embed"), LIST_EMBEDS);
  const id = request.query.get("id")?.toLowerCase();
  const cmd = request.query.get("cmd")?.toLowerCase();
  const selectors = request.query.all("label").map(parseLabelSelector);
  const views = apps.list().filter(({ current: { spec } }) => {
    if (id !== undefined && !spec.id.includes(id)) return false;
    if (cmd !== undefined && !commandOf(spec).toLowerCase().includes(cmd)) return false;
    return selectors.every((matches) => matches(spec.labels));
  });
  return json(200, { apps: views.map((view) => renderApp(view, embeds)) });
}

function commandOf(spec: AppSpec): string {
  return spec.shell ? (spec.argv?.[2] ?? "") : "";
}

async function create(apps: AppService, request: HttpRequest): Promise<HttpResponse> {
  const spec = parseApp(await readBody(request));
  if (apps.get(spec.id) !== null) throw alreadyExists(spec.id);
  const ref = await apps.change([{ kind: "put", spec, ifAbsent: true }], options(request));
  const headers = { location: `/v2/apps${spec.id}`, ...deploymentHeader(ref) };
  return json(201, renderCreated(existing(apps, spec.id), ref.deploymentId), headers);
}

/** PUT makes what is missing, PATCH refuses it. Several apps, one deployment. */
async function changeMany(apps: AppService, request: HttpRequest): Promise<HttpResponse> {
  const body = await readBody(request);
  if (!Array.isArray(body)) throw badRequest("Please specify data in JSON format");
  const changes = body.map((item: unknown) => {
    const update = expectObject(item);
    const id = parseAppId(typeof update["id"] === "string" ? update["id"] : "");
    if (request.method === "PATCH") existing(apps, id);
    return updateOf(apps, id, { update, partial: flag(request, "partialUpdate", true) });
  });
  return deploymentResult(await apps.change(changes, options(request)));
}

async function oneApp(apps: AppService, request: HttpRequest, segments: readonly string[]): Promise<HttpResponse> {
  const id = readId(segments, request.method === "PUT");
  switch (request.method) {
    case "GET":
    case "HEAD": {
      const view = existing(apps, id);
      return json(200, { app: renderApp(view, parseEmbeds(request.query.all("embed"), SHOW_EMBEDS)) });
    }
    case "PUT":
    case "PATCH": {
      const before = request.method === "PATCH" ? existing(apps, id) : apps.get(id);
      const update = expectObject(await readBody(request));
      const partial = request.method === "PATCH" || flag(request, "partialUpdate", true);
      const ref = await apps.change([updateOf(apps, id, { update, partial })], options(request));
      return deploymentResult(ref, before === null ? 201 : 200);
    }
    case "DELETE":
      existing(apps, id);
      return deploymentResult(await apps.change([{ kind: "destroy", id }], options(request, true)));
    default:
      return methodNotAllowed(["GET", "PUT", "PATCH", "DELETE"]);
  }
}

interface Update {
  readonly update: Readonly<Record<string, unknown>>;
  readonly partial: boolean;
}

function updateOf(apps: AppService, id: AppId, { update, partial }: Update): AppChange {
  const before = apps.get(id);
  const version = rollbackVersion(update);
  if (version !== null) {
    if (before === null) throw appNotFound(id);
    return { kind: "rollback", id, version };
  }
  const merged = before !== null && partial ? mergeApp(before.current.spec, update) : update;
  return { kind: "put", spec: parseApp(merged, id) };
}

/**
 * `{"version"}` alone means: back to that one. A body that carries our other read-only fields was got from us, edited
 * and sent back: there the version is only what it was got at.
 */
function rollbackVersion(update: Readonly<Record<string, unknown>>): Version | null {
  const { version } = update;
  const others = Object.keys(update).filter((name) => name !== "version" && name !== "id" && update[name] !== null);
  if (version === undefined || version === null || others.some(isReadOnlyField)) return null;
  if (others.length > 0) {
    throw new AppError("invalid", "The 'version' field may only be combined with the 'id' field.", {
      fields: [{ path: "/", message: "The 'version' field may only be combined with the 'id' field." }],
    });
  }
  return parseVersion(typeof version === "string" ? version : JSON.stringify(version));
}

async function restart(apps: AppService, request: HttpRequest, segments: readonly string[]): Promise<HttpResponse> {
  if (request.method !== "POST") return methodNotAllowed(["POST"]);
  const id = readId(segments);
  existing(apps, id);
  return deploymentResult(await apps.change([{ kind: "restart", id }], options(request)));
}

async function versions(apps: AppService, request: HttpRequest, segments: readonly string[]): Promise<HttpResponse> {
  if (!isRead(request)) return methodNotAllowed(["GET"]);
  const id = readId(segments);
  existing(apps, id);
  return json(200, { versions: (await apps.versions(id)).map(({ version }) => version) });
}

async function oneVersion(apps: AppService, request: HttpRequest, segments: readonly string[]): Promise<HttpResponse> {
  if (!isRead(request)) return methodNotAllowed(["GET"]);
  const version = parseVersion(segments.at(-1) ?? "");
  const id = readId(segments.slice(0, -2));
  const found = (await apps.versions(id)).find((one) => one.version === version);
  if (found === undefined) throw notFound(`App '${id}' does not exist in version ${version}`);
  return json(200, renderVersion(found));
}

async function tasks(apps: AppService, request: HttpRequest, segments: readonly string[]): Promise<HttpResponse> {
  const views = segments.at(-1) === "*" ? inGroup(apps, segments.slice(0, -1)) : [existing(apps, readId(segments))];
  if (request.method === "DELETE") {
    const host = request.query.get("host");
    const picked = views.flatMap((view) => view.instances).filter((view) => host === null || view.hostName === host);
    return await kill(apps, request, picked);
  }
  if (!isRead(request)) return methodNotAllowed(["GET", "DELETE"]);
  if (wantsText(request)) return text(tasksText(views));
  const rendered = views.flatMap(({ current, instances }) => instances.map((one) => renderTask(one, current.spec)));
  return json(200, { tasks: rendered });
}

export function tasksText(views: readonly AppView[]): string {
  return renderTasksText(views.map(({ current, instances }) => ({ spec: current.spec, instances })));
}

/** JSON wins for clients that take anything. */
export function wantsText(request: HttpRequest): boolean {
  const accept = request.header("accept") ?? "*/*";
  return accept.includes("text/plain") && !/application\/json|\*\/\*/.test(accept);
}

async function oneTask(apps: AppService, request: HttpRequest, segments: readonly string[]): Promise<HttpResponse> {
  if (request.method !== "DELETE") return methodNotAllowed(["DELETE"]);
  const view = existing(apps, readId(segments.slice(0, -2)));
  const taskId = segments.at(-1) ?? "";
  const found = view.instances.find(({ instance }) => instance.id === instanceIdOf(taskId));
  if (found === undefined) throw notFound(`Task '${taskId}' does not exist`);
  const answer = await kill(apps, request, [found]);
  return flag(request, "scale") ? answer : json(200, { task: renderTask(found, view.current.spec) });
}

/** Stops instances for a request: with `scale` that is a deployment, else they are replaced. */
export async function kill(
  apps: AppService,
  request: HttpRequest,
  picked: readonly InstanceView[],
): Promise<HttpResponse> {
  const scale = flag(request, "scale");
  if (scale && flag(request, "wipe")) throw badRequest("You cannot use scale and wipe at the same time.");
  const ids = picked.map(({ instance }) => instance.id);
  const { killed, deployment } = await apps.killInstances(ids, { scale, ...options(request) });
  if (deployment !== null) return deploymentResult(deployment);
  return json(200, {
    tasks: killed.flatMap((one) => {
      const view = apps.get(one.instance.appId);
      return view === null ? [] : [renderTask(one, view.current.spec)];
    }),
  });
}

function groupApps(apps: AppService, request: HttpRequest, segments: readonly string[]): HttpResponse {
  if (!isRead(request)) return methodNotAllowed(["GET"]);
  const embeds = parseEmbeds(request.query.all("embed"), LIST_EMBEDS);
  return json(200, { "*": inGroup(apps, segments).map((view) => renderApp(view, embeds)) });
}

function inGroup(apps: AppService, segments: readonly string[]): readonly AppView[] {
  const prefix = segments.length === 0 ? "/" : `/${segments.join("/")}/`;
  return apps.list().filter((view) => view.current.spec.id.startsWith(prefix));
}

/** An id that cannot be is not found; where it would be created it is invalid. */
function readId(segments: readonly string[], creates = false): AppId {
  try {
    return parseAppId(segments.join("/"));
  } catch (error) {
    if (creates || !(error instanceof AppError)) throw error;
    throw appNotFound(`/${segments.join("/")}`);
  }
}

function existing(apps: AppService, id: AppId): AppView {
  const view = apps.get(id);
  if (view === null) throw appNotFound(id);
  return view;
}

function appNotFound(id: string): AppError {
  return notFound(`App '${id}' does not exist`);
}

function alreadyExists(id: AppId): AppError {
  return new AppError("conflict", `An app with id [${id}] already exists.`);
}

function isRead(request: HttpRequest): boolean {
  return request.method === "GET" || request.method === "HEAD";
}

function options(request: HttpRequest, force = false): { readonly force: boolean } {
  return { force: flag(request, "force", force) };
}

async function readBody(request: HttpRequest): Promise<unknown> {
  return parseJsonBody(await request.body());
}
