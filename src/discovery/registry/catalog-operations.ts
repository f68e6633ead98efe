/** Registrations over the API, as changes of a transaction. What the platform itself registers cannot be changed so. */
import type { CatalogView } from "./catalog-view.ts";
import { type CheckRecord, type NodeRecord, onNode, type Rows, type ServiceRecord } from "./records.ts";
import { registryError } from "./registry-error.ts";
import type { Transaction, Unstamped } from "./tables.ts";

export type NodeInput = Pick<NodeRecord, "id" | "node" | "address" | "taggedAddresses" | "meta">;
export type ServiceInput = Omit<Unstamped<ServiceRecord>, "node" | "origin">;
export type CheckInput = Omit<Unstamped<CheckRecord>, "node" | "origin" | "serviceName" | "serviceTags">;

export interface Registration {
  readonly node: NodeInput;
  /** The node is there already and keeps what it is. */
  readonly skipNodeUpdate: boolean;
  readonly service: ServiceInput | null;
  readonly checks: readonly CheckInput[];
}

/** Where something is registered. */
export interface RegistrationPlace {
  readonly tx: Transaction;
  readonly view: CatalogView;
  readonly node: string;
}

/** Any version: Consul's own nodes have made theirs by several. */
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** @throws AppError 400 when something that must be there is missing, 500 when a name or id is another's or no UUID. */
export function register(tx: Transaction, view: CatalogView, registration: Registration): void {
  const { node, service, checks } = registration;
  const place = { tx, view, node: node.node };
  if (node.id !== "" && !UUID.test(node.id))
    throw registryError(500, `Bad node ID: ${JSON.stringify(node.id.slice(0, 64))} is no UUID`);
  putNode(tx, view, registration);
  if (service !== null) putService(place, service);
  for (const check of checks) putCheck(place, check);
}

function putNode(tx: Transaction, view: CatalogView, { node, skipNodeUpdate }: Registration): void {
  const before = tx.get("node", node.node) ?? view.node(node.node);
  // Hosts of the cluster are as the cluster knows them.
  if (before?.origin === "platform") return;
  if (skipNodeUpdate && before !== null) return;
  if (node.address === "") throw registryError(400, "Must provide address if SkipNodeUpdate is not set");
  const other = node.id === "" ? null : view.nodeById(node.id);
  if (other !== null && other.node !== node.node && tx.get("node", other.node) !== null)
    throw registryError(
      500,
      `Error while renaming Node ID: "${node.id}": Node name ${other.node} is reserved by node ${node.id}`,
    );
  const id = node.id === "" ? (before?.id ?? "") : node.id;
  putIfChanged(tx, { table: "node", id: node.node }, { ...node, id, origin: "api" });
}

export function putService({ tx, view, node }: RegistrationPlace, service: ServiceInput): void {
  if (service.name === "") throw registryError(400, "Must provide service name with ID");
  refusePlatform(view.service(node, service.id), "service", service.id);
  putIfChanged(tx, { table: "service", id: onNode(node, service.id) }, { ...service, node, origin: "api" });
  for (const check of tx.list("check", onNode(node, ""))) {
    if (check.serviceId !== service.id) continue;
    putIfChanged(
      tx,
      { table: "check", id: onNode(node, check.id) },
      {
        ...check,
        serviceName: service.name,
        serviceTags: service.tags,
      },
    );
  }
}

export function putCheck(place: RegistrationPlace, check: CheckInput): void {
  const { tx, view, node } = place;
  refusePlatform(view.check(node, check.id), "check", check.id);
  const owner = check.serviceId === "" ? null : findService(place, check.serviceId);
  if (check.serviceId !== "" && owner === null)
    throw registryError(400, `ServiceID ${JSON.stringify(check.serviceId)} does not exist`);
  const serviceName = owner?.name ?? "";
  putIfChanged(
    tx,
    { table: "check", id: onNode(node, check.id) },
    {
      ...check,
      node,
      serviceName,
      serviceTags: owner?.tags ?? [],
      origin: "api",
    },
  );
}

export function findService({ tx, view, node }: RegistrationPlace, id: string): ServiceRecord | null {
  return tx.get("service", onNode(node, id)) ?? view.service(node, id);
}

/** Takes a service with its checks, a check, or with neither the node with all that is on it. What is not there is no error. */
export function deregister(
  tx: Transaction,
  view: CatalogView,
  { node, serviceId, checkId }: { readonly node: string; readonly serviceId: string; readonly checkId: string },
): void {
  if (serviceId !== "") return dropService({ tx, view, node }, serviceId);
  if (checkId !== "") {
    refusePlatform(view.check(node, checkId), "check", checkId);
    tx.delete("check", onNode(node, checkId));
    return;
  }
  refusePlatform(view.node(node), "node", node);
  forgetNode(tx, node);
}

/** Takes all rows of a node. */
export function forgetNode(tx: Transaction, node: string): void {
  for (const check of tx.list("check", onNode(node, ""))) tx.delete("check", onNode(node, check.id));
  for (const service of tx.list("service", onNode(node, ""))) tx.delete("service", onNode(node, service.id));
  tx.delete("node", node);
}

function dropService({ tx, view, node }: RegistrationPlace, id: string): void {
  refusePlatform(view.service(node, id), "service", id);
  for (const check of tx.list("check", onNode(node, "")))
    if (check.serviceId === id) tx.delete("check", onNode(node, check.id));
  tx.delete("service", onNode(node, id));
}

function refusePlatform(record: { readonly origin: string } | null, what: string, id: string): void {
  if (record?.origin !== "platform") return;
  throw registryError(
    400,
    `Cannot change ${what} ${JSON.stringify(id)}: the cluster itself registers it, for as long as its host or container is there`,
  );
}

type CatalogTable = "node" | "service" | "check";

/** Registering again what is there is no change: nobody is woken for it. */
function putIfChanged<T extends CatalogTable>(
  tx: Transaction,
  { table, id }: { readonly table: T; readonly id: string },
  row: Unstamped<Rows[T]>,
): void {
  const before = tx.get(table, id);
  if (before === null || fingerprint(before) !== fingerprint(row)) tx.put(table, id, row);
}

/** The same text for records that say the same, whatever the order of their fields and their stamps. */
export function fingerprint(record: object): string {
  return JSON.stringify(record, (key, value: unknown) => {
    if (key === "createIndex" || key === "modifyIndex") return undefined;
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}
