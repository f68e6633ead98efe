/** Which instances a query means, by the parameters that catalog and health share. */
import type { CatalogView } from "../../discovery/registry/catalog-view.ts";
import { compileFilter, type Shape } from "../../discovery/registry/filter/evaluate-filter.ts";
import type { CheckRecord, NodeRecord, ServiceRecord, StringMap } from "../../discovery/registry/records.ts";
import type { HttpRequest } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import { badRequest } from "./read-fields.ts";

export interface InstanceView {
  readonly service: ServiceRecord;
  readonly node: NodeRecord;
  readonly checks: readonly CheckRecord[];
}

export function withNode(view: CatalogView, service: ServiceRecord): readonly InstanceView[] {
  const node = view.node(service.node);
  return node === null ? [] : [{ service, node, checks: view.checksFor(service) }];
}

/** `?tag=` (all of them), `?node-meta=`, and what the caller may read. */
export function chooseInstances(call: Call, services: readonly ServiceRecord[]): readonly InstanceView[] {
  const { registry, coordinates } = call.backend.parts;
  const tags = call.request.query.all("tag").filter((tag) => tag !== "");
  const meta = readNodeMeta(call.request);
  const { grants } = call.caller;
  const chosen = services
    .filter((service) => grants.may("service", service.name, "read") && hasTags(service, tags))
    .flatMap((service) => withNode(registry.view, service))
    .filter(({ node }) => grants.may("node", node.node, "read") && hasMeta(node.meta, meta));
  return coordinates.sortNear(chosen, readNear(call), ({ node }) => node.node);
}

/** Instances that take part in the mesh for a service: its proxies, and those that speak for themselves. */
export function connectInstances(view: CatalogView, service: string): readonly ServiceRecord[] {
  return view
    .serviceNames()
    .flatMap((name) => view.instances(name))
    .filter(({ name, kind, proxy, connect }) =>
      kind === "connect-proxy"
        ? (proxy["DestinationServiceName"] ?? proxy["destination_service_name"]) === service
        : name === service && connect["Native"] === true,
    );
}

export function hasTags(service: ServiceRecord, tags: readonly string[]): boolean {
  const own = new Set(service.tags.map((tag) => tag.toLowerCase()));
  return tags.every((tag) => own.has(tag.toLowerCase()));
}

export function hasMeta(meta: StringMap, wanted: StringMap): boolean {
  return Object.entries(wanted).every(([key, value]) => meta[key] === value);
}

/** Repeated `?node-meta=key:value`. */
export function readNodeMeta(request: HttpRequest): StringMap {
  const pairs = request.query.all("node-meta").map((pair) => {
    const colon = pair.indexOf(":");
    return colon < 0 ? ([pair, ""] as const) : ([pair.slice(0, colon), pair.slice(colon + 1)] as const);
  });
  return Object.fromEntries(pairs);
}

/** Name of the node that results are sorted by, "" for none. */
export function readNear({ request, backend }: Call): string {
  const near = request.query.get("near") ?? "";
  return near === "_agent" || near === "_ip" ? backend.localNode(request) : near;
}

/** `?filter=` as a test of rendered items. */
export function readFilter({ request }: Call, shape: Shape): (item: object) => boolean {
  return compileFilter(request.query.get("filter") ?? "", shape);
}

/** `?passing`, `?passing=true`. @throws AppError 400 for what is neither true nor false. */
export function readPassing({ request }: Call): boolean {
  const value = request.query.get("passing");
  if (value === null) return false;
  if (["", "1", "t", "true", "TRUE", "True", "T"].includes(value)) return true;
  if (["0", "f", "false", "FALSE", "False", "F"].includes(value)) return false;
  throw badRequest("Invalid value for ?passing");
}
