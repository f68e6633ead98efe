/**
 * Nodes, services and checks of all origins, with what queries look up. Every change names exactly the topics whose answers
 * it can alter, so that nobody else is woken.
 */
import { type CheckRecord, type NodeRecord, onNode, type ServiceRecord } from "./records.ts";
import { topic, type Touched } from "./touched.ts";

interface NodeEntry {
  record: NodeRecord;
  readonly services: Map<string, ServiceRecord>;
  readonly checks: Map<string, CheckRecord>;
  /** The same by the service they belong to, "" for those of the node: a host may have hundreds. */
  readonly checksOf: Map<string, Map<string, CheckRecord>>;
}

export class CatalogView {
  readonly #nodes = new Map<string, NodeEntry>();
  readonly #instances = new Map<string, Map<string, ServiceRecord>>();
  readonly #checksByState = new Map<string, Map<string, CheckRecord>>();
  /** How many instances of a service carry a tag: the list of services changes only with its keys. */
  readonly #tags = new Map<string, Map<string, number>>();

  node(name: string): NodeRecord | null {
    return this.#nodes.get(name)?.record ?? null;
  }

  nodeById(id: string): NodeRecord | null {
    for (const { record } of this.#nodes.values()) if (record.id === id && id !== "") return record;
    return null;
  }

  /** Sorted by name. */
  nodes(): readonly NodeRecord[] {
    return [...this.#nodes.values()].map(({ record }) => record).toSorted((a, b) => byText(a.node, b.node));
  }

  service(node: string, id: string): ServiceRecord | null {
    return this.#nodes.get(node)?.services.get(id) ?? null;
  }

  /** Instances on a node, by id. */
  servicesOn(node: string): readonly ServiceRecord[] {
    return [...(this.#nodes.get(node)?.services.values() ?? [])].toSorted((a, b) => byText(a.id, b.id));
  }

  /** Instances of a service, by node and id. */
  instances(service: string): readonly ServiceRecord[] {
    return [...(this.#instances.get(service)?.values() ?? [])].toSorted(
      (a, b) => byText(a.node, b.node) || byText(a.id, b.id),
    );
  }

  /** Names of all services, sorted. */
  serviceNames(): readonly string[] {
    return [...this.#instances.keys()].toSorted();
  }

  /** Tags of all instances of a service, sorted. */
  tagsOf(service: string): readonly string[] {
    return [...(this.#tags.get(service)?.keys() ?? [])].toSorted();
  }

  check(node: string, id: string): CheckRecord | null {
    return this.#nodes.get(node)?.checks.get(id) ?? null;
  }

  /** Checks on a node: of the node itself first, then by id. */
  checksOn(node: string): readonly CheckRecord[] {
    return [...(this.#nodes.get(node)?.checks.values() ?? [])].toSorted(byOwnerAndId);
  }

  /** Checks of the node and of that instance. */
  checksFor({ node, id }: Pick<ServiceRecord, "node" | "id">): readonly CheckRecord[] {
    return [...this.#owned(node, ""), ...this.#owned(node, id)];
  }

  checksOfService(service: string): readonly CheckRecord[] {
    return this.instances(service).flatMap(({ node, id }) =>
      this.#owned(node, id).filter(({ serviceName }) => serviceName === service),
    );
  }

  #owned(node: string, serviceId: string): readonly CheckRecord[] {
    const owned = this.#nodes.get(node)?.checksOf.get(serviceId);
    if (owned === undefined) return [];
    return owned.size === 1 ? [...owned.values()] : [...owned.values()].toSorted((a, b) => byText(a.id, b.id));
  }

  /** Checks in a state, or all with `any`; by node and id. */
  checksIn(state: string): readonly CheckRecord[] {
    const groups = state === "any" ? [...this.#checksByState.values()] : [this.#checksByState.get(state) ?? new Map()];
    return groups
      .flatMap((group) => [...group.values()])
      .toSorted((a, b) => byText(a.node, b.node) || byOwnerAndId(a, b));
  }

  putNode(record: NodeRecord, touched: Touched): void {
    const entry = this.#nodes.get(record.node);
    if (entry === undefined) {
      this.#nodes.set(record.node, { record, services: new Map(), checks: new Map(), checksOf: new Map() });
    } else {
      entry.record = record;
    }
    touched.add(topic.nodes);
    touched.add(topic.catalog);
    touched.add(topic.node(record.node));
    this.#eachHosted(record.node, (service) => {
      touched.add(topic.instances(service));
      touched.add(topic.health(service));
    });
  }

  /** Takes the node with all that is on it. */
  dropNode(name: string, touched: Touched): void {
    const entry = this.#nodes.get(name);
    if (entry === undefined) return;
    for (const id of entry.checks.keys()) this.dropCheck(name, id, touched);
    for (const id of entry.services.keys()) this.dropService(name, id, touched);
    this.#nodes.delete(name);
    touched.add(topic.nodes);
    touched.add(topic.catalog);
    touched.retire(topic.node(name));
    const checks = topic.nodeChecks(name);
    if (touched.topics.has(checks)) touched.retire(checks);
  }

  /** The node must be there. */
  putService(record: ServiceRecord, touched: Touched): void {
    const entry = this.#nodes.get(record.node);
    if (entry === undefined) return;
    const before = entry.services.get(record.id);
    entry.services.set(record.id, record);
    if (before !== undefined) this.#unlink(before);
    this.#link(record);
    this.#noteTags(before ?? null, record, touched);
    touched.add(topic.node(record.node));
    this.#touchService(record.name, touched);
    if (before !== undefined && before.name !== record.name) this.#touchService(before.name, touched);
  }

  /** Its checks are dropped by who knows of them. */
  dropService(node: string, id: string, touched: Touched): void {
    const before = this.#nodes.get(node)?.services.get(id);
    if (before === undefined) return;
    this.#nodes.get(node)?.services.delete(id);
    this.#unlink(before);
    this.#noteTags(before, null, touched);
    touched.add(topic.node(node));
    this.#touchService(before.name, touched);
  }

  /** The node must be there. */
  putCheck(record: CheckRecord, touched: Touched): void {
    const entry = this.#nodes.get(record.node);
    if (entry === undefined) return;
    const before = entry.checks.get(record.id);
    if (before !== undefined) this.#unlinkCheck(before);
    entry.checks.set(record.id, record);
    const owned = entry.checksOf.get(record.serviceId) ?? new Map<string, CheckRecord>();
    entry.checksOf.set(record.serviceId, owned.set(record.id, record));
    const group = this.#checksByState.get(record.status) ?? new Map<string, CheckRecord>();
    this.#checksByState.set(record.status, group.set(onNode(record.node, record.id), record));
    if (before !== undefined) this.#touchCheck(before, touched);
    this.#touchCheck(record, touched);
  }

  dropCheck(node: string, id: string, touched: Touched): void {
    const before = this.#nodes.get(node)?.checks.get(id);
    if (before === undefined) return;
    this.#nodes.get(node)?.checks.delete(id);
    this.#unlinkCheck(before);
    this.#touchCheck(before, touched);
  }

  #link(record: ServiceRecord): void {
    const group = this.#instances.get(record.name) ?? new Map<string, ServiceRecord>();
    this.#instances.set(record.name, group.set(onNode(record.node, record.id), record));
  }

  #unlink(record: ServiceRecord): void {
    const group = this.#instances.get(record.name);
    group?.delete(onNode(record.node, record.id));
    if (group?.size === 0) this.#instances.delete(record.name);
  }

  #unlinkCheck(record: CheckRecord): void {
    const checksOf = this.#nodes.get(record.node)?.checksOf;
    const owned = checksOf?.get(record.serviceId);
    owned?.delete(record.id);
    if (owned?.size === 0) checksOf?.delete(record.serviceId);
    this.#checksByState.get(record.status)?.delete(onNode(record.node, record.id));
  }

  #noteTags(before: ServiceRecord | null, after: ServiceRecord | null, touched: Touched): void {
    const came = this.#countTags(after, 1);
    const left = this.#countTags(before, -1);
    const cameOrWent =
      (before !== null && !this.#instances.has(before.name)) ||
      (after !== null && before?.name !== after.name && this.#instances.get(after.name)?.size === 1);
    if (came || left || cameOrWent) touched.add(topic.services);
  }

  /** True when a tag came or went for the service as a whole. */
  #countTags(record: ServiceRecord | null, step: 1 | -1): boolean {
    if (record === null) return false;
    const counts = this.#tags.get(record.name) ?? new Map<string, number>();
    this.#tags.set(record.name, counts);
    let changed = false;
    for (const tag of new Set(record.tags)) {
      const count = (counts.get(tag) ?? 0) + step;
      if (count === 0) counts.delete(tag);
      else counts.set(tag, count);
      changed ||= step === 1 ? count === 1 : count === 0;
    }
    if (counts.size === 0) this.#tags.delete(record.name);
    return changed;
  }

  #touchService(service: string, touched: Touched): void {
    touched.add(topic.catalog);
    const gone = !this.#instances.has(service);
    for (const each of [topic.instances(service), topic.health(service)]) {
      if (gone) touched.retire(each);
      else touched.add(each);
    }
    // Its checks are others' business; here only their topic ends with the service.
    const checks = topic.serviceChecks(service);
    if (gone && touched.topics.has(checks)) touched.retire(checks);
  }

  #touchCheck(record: CheckRecord, touched: Touched): void {
    touched.add(topic.checks("any"));
    touched.add(topic.checks(record.status));
    touched.add(topic.nodeChecks(record.node));
    if (record.serviceId === "") {
      this.#eachHosted(record.node, (service) => touched.add(topic.health(service)));
      return;
    }
    const gone = !this.#instances.has(record.serviceName);
    for (const each of [topic.health(record.serviceName), topic.serviceChecks(record.serviceName)]) {
      if (gone) touched.retire(each);
      else touched.add(each);
    }
  }

  #eachHosted(node: string, touch: (service: string) => void): void {
    const names = new Set([...(this.#nodes.get(node)?.services.values() ?? [])].map(({ name }) => name));
    for (const name of names) touch(name);
  }
}

export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function byOwnerAndId(a: CheckRecord, b: CheckRecord): number {
  return byText(a.serviceId === "" ? "" : "x", b.serviceId === "" ? "" : "x") || byText(a.id, b.id);
}
