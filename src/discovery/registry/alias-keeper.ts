/** Alias checks: they say the worst of what another node's or service's checks say. Looked up where all checks are known. */
import type { CheckStatus } from "../../model/host-check.ts";
import type { CheckKeeper } from "./check-keeper.ts";
import { type CheckRecord, onNode } from "./records.ts";
import type { Registry } from "./registry.ts";
import { topic } from "./touched.ts";

interface Target {
  readonly node: string;
  /** "" for the node alone. */
  readonly service: string;
}

/** After the store did not take what a check says. */
const RETRY_MS = 1000;

export class AliasKeeper {
  readonly #registry: Registry;
  readonly #checks: CheckKeeper;
  /** Alias checks by the topics that may change what they say. */
  readonly #byTopic = new Map<string, Set<string>>();

  constructor(registry: Registry, checks: CheckKeeper) {
    this.#registry = registry;
    this.#checks = checks;
    for (const check of registry.tables.list("check", "")) this.#follow(onNode(check.node, check.id), null, check);
    registry.onChange(({ table, id, row }, before) => {
      if (table === "check") this.#follow(id, before as CheckRecord | null, row as CheckRecord | null);
    });
    registry.onTouched(({ topics }) => {
      if (this.#byTopic.size === 0) return;
      const due = new Set<string>();
      for (const each of topics) for (const key of this.#byTopic.get(each) ?? []) due.add(key);
      for (const key of due) this.#judge(key);
    });
  }

  #follow(key: string, before: CheckRecord | null, row: CheckRecord | null): void {
    for (const each of topicsOf(before)) {
      const group = this.#byTopic.get(each);
      group?.delete(key);
      if (group?.size === 0) this.#byTopic.delete(each);
    }
    for (const each of topicsOf(row)) {
      const group = this.#byTopic.get(each) ?? new Set<string>();
      this.#byTopic.set(each, group.add(key));
    }
  }

  #judge(key: string): void {
    const check = this.#registry.tables.get("check", key);
    const target = targetOf(check);
    if (check === null || target === null) return;
    const said = this.#look(target, check.id);
    if (said.status === check.status && said.output === check.output) return;
    this.#checks
      .set(check.node, check.id, said)
      .catch(() => this.#registry.deadlines.after(RETRY_MS, () => this.#judge(key)));
  }

  #look({ node, service }: Target, self: string): { readonly status: CheckStatus; readonly output: string } {
    const { view } = this.#registry;
    if (view.node(node) === null) return { status: "critical", output: `Node "${node}" is not there` };
    const found = service === "" ? null : view.service(node, service);
    if (service !== "" && found === null)
      return { status: "critical", output: `Service "${service}" on node "${node}" is not there` };
    const checks = view
      .checksFor({ node, id: service })
      .filter(({ id, serviceId }) => id !== self && (service !== "" || serviceId === ""));
    for (const status of ["critical", "warning"] as const) {
      const worst = checks.find((each) => each.status === status);
      if (worst !== undefined) return { status, output: `Aliased check "${worst.name}" failing: ${worst.output}` };
    }
    return { status: "passing", output: checks.length === 0 ? "No checks found." : "All checks passing." };
  }
}

function targetOf(check: CheckRecord | null): Target | null {
  if (check === null || check.type !== "alias") return null;
  const { AliasNode: node, AliasService: service } = check.definition;
  return {
    node: typeof node === "string" && node !== "" ? node : check.node,
    service: typeof service === "string" ? service : "",
  };
}

/** What is on the node, its checks, and the alias check's own node, whose change brings a new alias check its first word. */
function topicsOf(check: CheckRecord | null): readonly string[] {
  const target = targetOf(check);
  if (check === null || target === null) return [];
  return [...new Set([topic.node(target.node), topic.nodeChecks(target.node), topic.nodeChecks(check.node)])];
}
