/** Several operations that happen all or not at all (Consul's `/v1/txn`). */
import { AppError } from "../../model/error.ts";
import {
  type CheckInput,
  deregister,
  type NodeInput,
  putCheck,
  putService,
  register,
  type ServiceInput,
} from "./catalog-operations.ts";
import type { CatalogView } from "./catalog-view.ts";
import { deleteBelow, deleteKey, type KvInput, putKey } from "./kv-operations.ts";
import { type CheckRecord, type KvEntry, type NodeRecord, onNode, type ServiceRecord } from "./records.ts";
import type { LockDelays } from "./session-operations.ts";
import type { Transaction } from "./tables.ts";

export type KvVerb =
  | "set"
  | "cas"
  | "lock"
  | "unlock"
  | "get"
  | "get-or-empty"
  | "get-tree"
  | "check-index"
  | "check-session"
  | "check-not-exists"
  | "delete"
  | "delete-cas"
  | "delete-tree";

export type CatalogVerb = "get" | "set" | "cas" | "delete" | "delete-cas";

export type Operation =
  | {
      readonly kind: "kv";
      readonly verb: KvVerb;
      readonly key: string;
      readonly input: KvInput;
      readonly index: bigint;
      readonly session: string;
    }
  | { readonly kind: "node"; readonly verb: CatalogVerb; readonly node: NodeInput; readonly index: bigint }
  | {
      readonly kind: "service";
      readonly verb: CatalogVerb;
      readonly node: string;
      readonly service: ServiceInput;
      readonly index: bigint;
    }
  | {
      readonly kind: "check";
      readonly verb: CatalogVerb;
      readonly node: string;
      readonly check: CheckInput;
      readonly index: bigint;
    };

export type OperationResult =
  | { readonly kind: "kv"; readonly row: KvEntry; readonly withValue: boolean }
  | { readonly kind: "node"; readonly row: NodeRecord }
  | { readonly kind: "service"; readonly row: ServiceRecord }
  | { readonly kind: "check"; readonly row: CheckRecord };

export interface OperationFault {
  readonly at: number;
  readonly what: string;
}

/** Carries all faults out of a change, which takes the change back. */
export class OperationsRefused extends AppError {
  readonly faults: readonly OperationFault[];

  constructor(faults: readonly OperationFault[]) {
    super("conflict", "Cannot carry out the transaction: some operations do not hold", { details: { status: 409 } });
    this.faults = faults;
  }
}

interface Place {
  readonly tx: Transaction;
  readonly view: CatalogView;
  readonly lockDelays: LockDelays;
}

/** @throws OperationsRefused with every operation that does not hold. */
export function runOperations(operations: readonly Operation[], place: Place): readonly OperationResult[] {
  const results: OperationResult[] = [];
  const faults: OperationFault[] = [];
  operations.forEach((operation, at) => {
    try {
      results.push(...runOne(operation, place));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      faults.push({ at, what: error.message });
    }
  });
  if (faults.length > 0) throw new OperationsRefused(faults);
  return results;
}

function runOne(operation: Operation, place: Place): readonly OperationResult[] {
  switch (operation.kind) {
    case "kv":
      return runKv(operation, place);
    case "node":
      return runNode(operation, place);
    case "service":
      return runService(operation, place);
    case "check":
      return runCheck(operation, place);
  }
}

type KvOperation = Operation & { readonly kind: "kv" };

function runKv(operation: KvOperation, { tx, lockDelays }: Place): readonly OperationResult[] {
  const { verb, key, input, index, session } = operation;
  const name = JSON.stringify(key);
  const row = tx.get("kv", key);
  const put = (condition: Parameters<typeof putKey>[2]["condition"], fault: string): readonly OperationResult[] => {
    const written = putKey(tx, key, { input, condition, lockDelays });
    if (written === null) throw refused(fault);
    return [{ kind: "kv", row: written, withValue: false }];
  };
  const show = (rows: readonly KvEntry[], withValue: boolean): readonly OperationResult[] =>
    rows.map((each) => ({ kind: "kv", row: each, withValue }));
  switch (verb) {
    case "set":
      return put({ kind: "always" }, "");
    case "cas":
      return put({ kind: "cas", index }, `failed to set key ${name}, index is stale`);
    case "lock":
      return put({ kind: "acquire", session }, `failed to lock key ${name}, lock is already held`);
    case "unlock":
      return put(
        { kind: "release", session },
        `failed to unlock key ${name}, lock isn't held, or is held by another session`,
      );
    case "get":
      if (row === null) throw refused(`key ${name} doesn't exist`);
      return show([row], true);
    case "get-or-empty":
      return show([row ?? emptyKey(key)], true);
    case "get-tree":
      return show(tx.list("kv", key), true);
    case "check-index":
      if (row === null) throw refused(`key ${name} doesn't exist`);
      if (BigInt(row.modifyIndex) !== index)
        throw refused(`failed index check for key ${name}, current modify index ${row.modifyIndex} != ${index}`);
      return show([row], false);
    case "check-session":
      if (row === null) throw refused(`key ${name} doesn't exist`);
      if (row.session !== session)
        throw refused(
          `failed session check for key ${name}, current session ${JSON.stringify(row.session ?? "")} != ${JSON.stringify(session)}`,
        );
      return show([row], false);
    case "check-not-exists":
      if (row !== null) throw refused(`key ${name} exists`);
      return [];
    case "delete":
      deleteKey(tx, key);
      return [];
    case "delete-cas":
      if (!deleteKey(tx, key, index)) throw refused(`failed to delete key ${name}, index is stale`);
      return [];
    case "delete-tree":
      deleteBelow(tx, key, Infinity);
      return [];
  }
}

function emptyKey(key: string): KvEntry {
  return { key, value: null, flags: "0", lockIndex: 0, session: null, createIndex: 0, modifyIndex: 0 };
}

function runNode({ verb, node, index }: Operation & { kind: "node" }, { tx, view }: Place): readonly OperationResult[] {
  const find = (): NodeRecord | null => tx.get("node", node.node) ?? view.node(node.node);
  const shown = runCatalog(verb, index, {
    what: `node ${JSON.stringify(node.node)}`,
    find,
    put: () => register(tx, view, { node, skipNodeUpdate: false, service: null, checks: [] }),
    drop: () => deregister(tx, view, { node: node.node, serviceId: "", checkId: "" }),
  });
  return shown === null ? [] : [{ kind: "node", row: shown }];
}

function runService(operation: Operation & { kind: "service" }, { tx, view }: Place): readonly OperationResult[] {
  const { verb, node, service, index } = operation;
  const shown = runCatalog(verb, index, {
    what: `service ${JSON.stringify(service.id)} on node ${JSON.stringify(node)}`,
    find: () => tx.get("service", onNode(node, service.id)) ?? view.service(node, service.id),
    put: () => {
      if (tx.get("node", node) === null && view.node(node) === null) throw refused("Missing node registration");
      putService({ tx, view, node }, service);
    },
    drop: () => deregister(tx, view, { node, serviceId: service.id, checkId: "" }),
  });
  return shown === null ? [] : [{ kind: "service", row: shown }];
}

function runCheck(operation: Operation & { kind: "check" }, { tx, view }: Place): readonly OperationResult[] {
  const { verb, node, check, index } = operation;
  const shown = runCatalog(verb, index, {
    what: `check ${JSON.stringify(check.id)} on node ${JSON.stringify(node)}`,
    find: () => tx.get("check", onNode(node, check.id)) ?? view.check(node, check.id),
    put: () => {
      if (tx.get("node", node) === null && view.node(node) === null) throw refused("Missing node registration");
      putCheck({ tx, view, node }, check);
    },
    drop: () => deregister(tx, view, { node, serviceId: "", checkId: check.id }),
  });
  return shown === null ? [] : [{ kind: "check", row: shown }];
}

interface CatalogSteps<Row> {
  readonly what: string;
  find(): Row | null;
  put(): void;
  drop(): void;
}

/** The row to show; null for deletions. */
function runCatalog<Row extends { readonly modifyIndex: number }>(
  verb: CatalogVerb,
  index: bigint,
  steps: CatalogSteps<Row>,
): Row | null {
  const { what } = steps;
  const before = steps.find();
  const stale = BigInt(before?.modifyIndex ?? 0) !== index;
  switch (verb) {
    case "get":
      if (before === null) throw refused(`${what} doesn't exist`);
      return before;
    case "cas":
      if (stale) throw refused(`failed to set ${what}, index is stale`);
      steps.put();
      return steps.find();
    case "set":
      steps.put();
      return steps.find();
    case "delete-cas":
      if (stale) throw refused(`failed to delete ${what}, index is stale`);
      steps.drop();
      return null;
    case "delete":
      steps.drop();
      return null;
  }
}

function refused(message: string): AppError {
  return new AppError("conflict", message);
}
