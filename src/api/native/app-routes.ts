import { AppError } from "../../model/error.ts";
import { parseAppId, parseVersion, type AppId, type Version } from "../../model/ids.ts";
import type { HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { AppChange, AppService, AppView, DeploymentRef } from "../../scheduling/app-service.ts";
import { mergeApp } from "../marathon/merge-app.ts";
import { parseApp } from "../marathon/parse-app.ts";
import { expectObject, Issues, JsonObject, parseJsonBody } from "../read-json.ts";
import { renderAppJson, renderVersionJson, renderWhyJson } from "./render-app.ts";
import { json, methodNotAllowed, notFound } from "./respond.ts";
import type { NativeServices } from "./services.ts";
import type { DeploymentRefJson } from "./shapes.ts";

const ACTIONS: ReadonlySet<string> = new Set(["scale", "restart", "rollback", "versions", "why"]);

interface Context {
  readonly apps: AppService;
  readonly services: NativeServices;
  readonly request: HttpRequest;
}

/** `/api/apps…`; `segments` follow "apps", each decoded, so that an encoded id is one of them. */
export async function routeApps(context: Context, segments: readonly string[]): Promise<HttpResponse> {
  const last = segments.at(-1);
  if (last === undefined) return await collection(context);
  if (segments.length >= 2 && ACTIONS.has(last)) {
    return await act(context, existing(context, segments.slice(0, -1).join("/")), last);
  }
  return await oneApp(context, segments.join("/"));
}

async function collection(context: Context): Promise<HttpResponse> {
  const { apps, request } = context;
  if (request.method === "GET")
    return json(
      200,
      apps.list().map((view) => renderView(context, view)),
    );
  if (request.method !== "POST") return methodNotAllowed(["GET", "POST"]);
  const spec = parseApp(await readBody(request));
  if (apps.get(spec.id) !== null) {
    throw new AppError("conflict", `Cannot create app "${spec.id}": it exists`, {
      hint: `Change it with "apollo app update ${spec.id}", or destroy it first`,
    });
  }
  return await change(context, { kind: "put", spec, ifAbsent: true }, 201);
}

async function oneApp(context: Context, idText: string): Promise<HttpResponse> {
  const { apps, request } = context;
  switch (request.method) {
    case "GET":
      return json(200, renderView(context, existing(context, idText)));
    case "PUT": {
      const id = parseAppId(idText);
      const update = expectObject(await readBody(request));
      if (typeof update["id"] === "string" && parseAppId(update["id"]) !== id) {
        throw new AppError("invalid", `Cannot update app "${id}": the definition is of "${update["id"]}"`, {
          fields: [{ path: "/id", message: `must be ${id}, as in the address, or left out` }],
        });
      }
      const before = apps.get(id);
      const merged = before === null ? update : mergeApp(before.current.spec, update);
      return await change(context, { kind: "put", spec: parseApp(merged, id) }, before === null ? 201 : 200);
    }
    case "DELETE":
      return await change(context, { kind: "destroy", id: existing(context, idText).current.spec.id });
    default:
      return methodNotAllowed(["GET", "PUT", "DELETE"]);
  }
}

async function act(context: Context, view: AppView, action: string): Promise<HttpResponse> {
  const { apps, request } = context;
  const { id } = view.current.spec;
  if (action === "versions" || action === "why") {
    if (request.method !== "GET") return methodNotAllowed(["GET"]);
    return json(200, action === "why" ? renderWhyJson(view) : (await apps.versions(id)).map(renderVersionJson));
  }
  if (request.method !== "POST") return methodNotAllowed(["POST"]);
  if (action === "restart") return await change(context, { kind: "restart", id });
  const issues = new Issues();
  const body = new JsonObject(
    action === "scale" ? expectObject(await readBody(request)) : await optionalBody(request),
    "",
    issues,
  );
  if (action === "rollback") {
    return await change(context, {
      kind: "rollback",
      id,
      version: await rollbackTarget(apps, id, body.string("version")),
    });
  }
  const instances = body.integer("instances");
  if (!body.has("instances")) issues.form("/instances", "error.path.missing");
  issues.throwIfAny("scale request");
  // The whole definition is read again, for the rules that hold between the count and the rest.
  if (instances !== null) parseApp(mergeApp(view.current.spec, { instances }), id);
  return await change(context, { kind: "scale", id, instances: instances ?? 0 });
}

async function rollbackTarget(apps: AppService, id: AppId, text: string | null): Promise<Version> {
  const versions = await apps.versions(id);
  const version = text === null ? versions[1]?.version : parseVersion(text);
  if (version === undefined) {
    throw new AppError("conflict", `Cannot roll back app "${id}": it has only one version`);
  }
  if (!versions.some((one) => one.version === version)) {
    throw notFound(`Cannot roll back app "${id}": it has no version ${version}`, `See "apollo app versions ${id}"`);
  }
  return version;
}

async function change({ apps, request }: Context, wanted: AppChange, status = 200): Promise<HttpResponse> {
  return json(status, renderRef(await apps.change([wanted], { force: request.query.get("force") === "true" })));
}

export function renderRef({ version, deploymentId }: DeploymentRef): DeploymentRefJson {
  return { version, deploymentId };
}

function renderView({ services }: Context, view: AppView): object {
  return renderAppJson(view, services.serviceOf(view.current.spec));
}

function existing({ apps }: Context, idText: string): AppView {
  const view = findApp(apps, idText);
  if (view === null) throw appNotFound(idText);
  return view;
}

/** Null also for an id that cannot be. */
export function findApp(apps: AppService, idText: string): AppView | null {
  try {
    return apps.get(parseAppId(idText));
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

export function appNotFound(idText: string): AppError {
  return notFound(`Cannot find app "${idText}"`, 'See the apps with "apollo app list"');
}

async function readBody(request: HttpRequest): Promise<unknown> {
  return parseJsonBody(await request.body());
}

async function optionalBody(request: HttpRequest): Promise<Readonly<Record<string, unknown>>> {
  const bytes = await request.body();
  return bytes.byteLength === 0 ? {} : expectObject(parseJsonBody(bytes));
}
