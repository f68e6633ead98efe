/**
 * Where an app may run. `LIKE`, `UNLIKE`, `IS` and `CLUSTER` with a value look at the host alone and are settled once;
 * `UNIQUE`, `MAX_PER`, `CLUSTER` without a value and `GROUP_BY` depend on where the app's instances are, so they keep a
 * tally. Only instances of the wanted definition are counted: a rolling upgrade may share a host with the old ones.
 */
import type { Constraint } from "../model/app.ts";
import type { HostLoad } from "./host-load.ts";

export interface HostRule {
  /** Null when the host passes, else why not. */
  refuse(host: HostLoad): string | null;
}

/** A rule whose answer changes with each instance; refusals other than `GROUP_BY`'s only ever grow. */
export interface TallyRule extends HostRule {
  readonly constraint: Constraint;
  readonly tally: Map<string, number>;
  count(host: HostLoad): void;
}

/** Value of a constraint's field on a host; undefined when it has no such label. */
export function fieldValue(host: HostLoad, field: string): string | undefined {
  if (field === "hostname" || field === "@hostname") return host.name;
  return host.labels[field] ?? (field.startsWith("@") ? host.labels[field.slice(1)] : undefined);
}

/** The rules that do not depend on other instances. */
export function hostRules(constraints: readonly Constraint[]): readonly HostRule[] {
  return constraints.flatMap((constraint) => {
    const test = valueTest(constraint);
    return test === null ? [] : [{ refuse: (host: HostLoad) => refuseValue(host, constraint, test) }];
  });
}

/** The rules that count, all but `GROUP_BY`. */
export function tallyRules(constraints: readonly Constraint[]): readonly TallyRule[] {
  return constraints.flatMap((constraint) => {
    const { operator, value } = constraint;
    if (operator === "UNIQUE") return [limitRule(constraint, 1)];
    if (operator === "MAX_PER") return [limitRule(constraint, Number(value))];
    if (operator === "CLUSTER" && value === null) return [clusterRule(constraint)];
    return [];
  });
}

export function formatConstraint({ field, operator, value }: Constraint): string {
  return value === null ? `${field} ${operator}` : `${field} ${operator} ${value}`;
}

type ValueTest = (value: string | undefined) => boolean;

function valueTest({ operator, value }: Constraint): ValueTest | null {
  switch (operator) {
    case "IS":
      return (actual) => actual !== undefined && sameValue(actual, value ?? "");
    case "CLUSTER":
      return value === null ? null : (actual) => actual === value;
    case "LIKE": {
      const pattern = wholePattern(value ?? "");
      return (actual) => actual !== undefined && pattern !== null && pattern.test(actual);
    }
    case "UNLIKE": {
      const pattern = wholePattern(value ?? "");
      return (actual) => actual === undefined || (pattern !== null && !pattern.test(actual));
    }
    case "UNIQUE":
    case "MAX_PER":
    case "GROUP_BY":
      return null;
  }
}

/** An unreadable pattern, which the API refuses, lets no host pass rather than all of them. */
function wholePattern(source: string): RegExp | null {
  try {
    return new RegExp(`^(?:${source})$`);
  } catch {
    return null;
  }
}

/** Numbers are equal when they are at three decimals, as Mesos compares scalar attributes. */
function sameValue(actual: string, wanted: string): boolean {
  if (actual === wanted) return true;
  const [a, b] = [Number(actual), Number(wanted)];
  if (actual.trim() === "" || wanted.trim() === "" || !Number.isFinite(a) || !Number.isFinite(b)) return false;
  return a.toFixed(3) === b.toFixed(3);
}

function refuseValue(host: HostLoad, constraint: Constraint, test: ValueTest): string | null {
  const value = fieldValue(host, constraint.field);
  if (test(value)) return null;
  return value === undefined
    ? `constraint "${formatConstraint(constraint)}": it has no label "${constraint.field}"`
    : `constraint "${formatConstraint(constraint)}": its ${constraint.field} is "${value}"`;
}

function limitRule(constraint: Constraint, limit: number): TallyRule {
  return tallyRule(constraint, (value, tally) => {
    const here = tally.get(value) ?? 0;
    return here < limit ? null : `"${value}" has ${here} of at most ${limit}`;
  });
}

function clusterRule(constraint: Constraint): TallyRule {
  return tallyRule(constraint, (value, tally) =>
    tally.size === 0 || tally.has(value) ? null : `the app is on "${[...tally.keys()].toSorted().join('", "')}"`,
  );
}

/** `why` tells what is against a further instance on hosts with this value, given how many there are by value; null: nothing. */
function tallyRule(
  constraint: Constraint,
  why: (value: string, tally: ReadonlyMap<string, number>) => string | null,
): TallyRule {
  const tally = new Map<string, number>();
  return {
    constraint,
    tally,
    refuse(host) {
      const value = fieldValue(host, constraint.field);
      if (value === undefined) return missing(constraint);
      const reason = why(value, tally);
      return reason === null ? null : `constraint "${formatConstraint(constraint)}": ${reason}`;
    },
    count: (host) => countValue(tally, fieldValue(host, constraint.field)),
  };
}

export function missing(constraint: Constraint): string {
  return `constraint "${formatConstraint(constraint)}": it has no label "${constraint.field}"`;
}

function countValue(tally: Map<string, number>, value: string | undefined): void {
  if (value !== undefined) tally.set(value, (tally.get(value) ?? 0) + 1);
}
