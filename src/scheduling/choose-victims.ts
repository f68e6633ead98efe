/**
 * Which instances go when there are too many, first to go first: those that restore a `GROUP_BY` balance; then those that
 * serve nobody (unreachable, not running yet, unhealthy); then outdated ones; then those on hosts that have most of the
 * app; then by the app's kill selection. Readiness goes before the spread over hosts, which is a preference of ours and
 * no rule of the user's: a spread is not worth a ready instance.
 *
 * Taking one away lowers the count of its host and group, so a plain sort is not enough. But within one host the order
 * never changes: so the k-th last of a host to go has k as its level, and sorting by level gives the same as choosing one
 * by one.
 */
import type { AppSpec } from "../model/app.ts";
import type { Copy } from "./app-copies.ts";
import { fieldValue } from "./constraints.ts";

type Order = (a: Copy, b: Copy) => number;

/** The first `count` to go. */
export function chooseVictims(copies: readonly Copy[], count: number, spec: AppSpec): readonly Copy[] {
  if (count <= 0) return [];
  return killOrder(copies, spec).slice(0, count);
}

function killOrder(copies: readonly Copy[], spec: AppSpec): readonly Copy[] {
  const byUse: Order = (a, b) => useOf(a) - useOf(b) || Number(a.current) - Number(b.current);
  const byAge = ageOrder(spec);
  const onHost = levels(copies, (copy) => copy.instance.hostId, (a, b) => byUse(a, b) || byAge(a, b));
  let order: Order = (a, b) => byUse(a, b) || level(onHost, b) - level(onHost, a) || byAge(a, b);
  for (const { field, operator } of spec.constraints.toReversed()) {
    if (operator !== "GROUP_BY") continue;
    const within = order;
    const inGroup = levels(copies, (copy) => groupOf(copy, field), within);
    order = (a, b) => level(inGroup, b) - level(inGroup, a) || within(a, b);
  }
  return copies.toSorted(order);
}

/** 0 unreachable, 1 on its way, 2 running but not healthy, 3 ready. */
function useOf(copy: Copy): number {
  if (copy.host?.presence.phase !== "up") return 0;
  if (copy.status?.phase !== "running") return 1;
  return copy.ready ? 3 : 2;
}

function ageOrder({ killSelection }: AppSpec): Order {
  const sign = killSelection === "YOUNGEST_FIRST" ? -1 : 1;
  return (a, b) =>
    sign * (a.instance.createdAtMs - b.instance.createdAtMs) || (a.instance.id < b.instance.id ? -1 : 1);
}

function groupOf(copy: Copy, field: string): string {
  return (copy.host === undefined ? undefined : fieldValue(copy.host, field)) ?? "";
}

function levels(copies: readonly Copy[], keyOf: (copy: Copy) => string, order: Order): ReadonlyMap<Copy, number> {
  const members = new Map<string, Copy[]>();
  for (const copy of copies) {
    const key = keyOf(copy);
    const group = members.get(key);
    if (group === undefined) members.set(key, [copy]);
    else group.push(copy);
  }
  const found = new Map<Copy, number>();
  for (const group of members.values()) {
    group.toSorted(order).forEach((copy, at) => found.set(copy, group.length - at));
  }
  return found;
}

function level(found: ReadonlyMap<Copy, number>, copy: Copy): number {
  return found.get(copy) ?? 0;
}
