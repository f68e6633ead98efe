/**
 * Placement under rules that count. Hosts with the same values in all `GROUP_BY` fields form a cell with a heap of its
 * own, and the cells lie in a heap by their best host. A host that a limit or its room rules out is dropped for good,
 * since counts only grow. A cell whose group is ahead of others is parked until the others have caught up. So a round
 * over G groups costs G steps, however many hosts a group has.
 */
import type { Constraint } from "../model/app.ts";
import type { HostId } from "../model/ids.ts";
import { fieldValue, tallyRules } from "./constraints.ts";
import type { TallyRule } from "./constraints.ts";
import { GroupRule } from "./group-rule.ts";
import { Heap } from "./heap.ts";
import type { Needs } from "./host-load.ts";
import { lessLoaded } from "./host-room.ts";
import type { HostRoom, Refusal } from "./host-room.ts";

export interface ConstrainedInput {
  readonly needs: Needs;
  readonly count: number;
  readonly constraints: readonly Constraint[];
  /** Hosts that take instances and pass the rules that look at a host alone. */
  readonly rooms: readonly HostRoom[];
  /** Host of each instance that the rules count. */
  readonly existing: readonly HostRoom[];
  /** Staying instances of the app on each host. */
  readonly spread: ReadonlyMap<HostRoom, number>;
}

export interface ConstrainedPlacement {
  readonly placed: readonly HostId[];
  /** Why a host takes no further instance; null when it would. */
  readonly refuse: (room: HostRoom) => Refusal | null;
}

interface Candidate {
  readonly room: HostRoom;
  readonly count: number;
}

interface Cell {
  /** Value of each `GROUP_BY` field, in their order. */
  readonly values: readonly string[];
  readonly hosts: Heap<Candidate>;
}

export function placeConstrained(input: ConstrainedInput): ConstrainedPlacement {
  const { needs, constraints } = input;
  const limits = tallyRules(constraints);
  const groups = constraints.filter(({ operator }) => operator === "GROUP_BY").map((each) => new GroupRule(each));
  for (const room of input.existing) for (const rule of [...limits, ...groups]) rule.count(room.load);
  for (const rule of limits) pinCluster(rule, input);

  const cells = new Heap<Cell>(betterCell, makeCells(input, groups));
  for (const group of groups) group.settle();
  const parked: Cell[] = [];
  const placed: HostId[] = [];
  const release = (risen: boolean): void => {
    if (!risen) return;
    for (const cell of parked.splice(0)) cells.push(cell);
  };

  while (placed.length < input.count) {
    const cell = cells.pop();
    if (cell === undefined) break;
    const best = cell.hosts.peek();
    if (best === undefined) {
      release(shutCell(cell, groups));
      continue;
    }
    if (!best.room.fits(needs) || limits.some((rule) => rule.refuse(best.room.load) !== null)) {
      cell.hosts.pop();
      cells.push(cell);
      continue;
    }
    if (groups.some((group) => group.refuse(best.room.load) !== null)) {
      parked.push(cell);
      continue;
    }
    cell.hosts.pop();
    best.room.take(needs);
    placed.push(best.room.load.id);
    for (const rule of limits) rule.count(best.room.load);
    cell.hosts.push({ room: best.room, count: best.count + 1 });
    cells.push(cell);
    let risen = false;
    for (const group of groups) risen = group.countPlaced(best.room.load) || risen;
    release(risen);
  }
  return { placed, refuse: (room) => refuse(room, needs, [...limits, ...groups]) };
}

function makeCells({ rooms, spread }: ConstrainedInput, groups: readonly GroupRule[]): Cell[] {
  const members = new Map<string, { values: readonly string[]; hosts: Candidate[] }>();
  for (const room of rooms) {
    const values = groups.map((group) => fieldValue(room.load, group.constraint.field));
    if (!values.every((value) => value !== undefined)) continue;
    const key = JSON.stringify(values);
    const cell = members.get(key) ?? { values, hosts: [] };
    if (cell.hosts.length === 0) members.set(key, cell);
    cell.hosts.push({ room, count: spread.get(room) ?? 0 });
  }
  return [...members.values()].map(({ values, hosts }) => {
    groups.forEach((group, at) => group.open(values[at] ?? ""));
    return { values, hosts: new Heap(betterHost, hosts) };
  });
}

/** True when other groups may go on. Empty cells are shut once: they are not put back. */
function shutCell(cell: Cell, groups: readonly GroupRule[]): boolean {
  let risen = false;
  groups.forEach((group, at) => {
    risen = group.shut(cell.values[at] ?? "") || risen;
  });
  return risen;
}

function betterHost(a: Candidate, b: Candidate): boolean {
  return a.count === b.count ? lessLoaded(a.room, b.room) : a.count < b.count;
}

/** Empty cells first: they only have to be shut. */
function betterCell(a: Cell, b: Cell): boolean {
  const [hostA, hostB] = [a.hosts.peek(), b.hosts.peek()];
  if (hostA === undefined) return true;
  return hostB !== undefined && betterHost(hostA, hostB);
}

/**
 * `CLUSTER` without a value keeps all instances where the first one is. The first goes where most of them fit, since a
 * choice by load alone may strand the rest.
 */
function pinCluster(rule: TallyRule, { needs, count, rooms }: ConstrainedInput): void {
  if (rule.constraint.operator !== "CLUSTER" || rule.tally.size > 0) return;
  const fits = new Map<string, { capacity: number; best: HostRoom }>();
  for (const room of rooms) {
    const value = fieldValue(room.load, rule.constraint.field);
    if (value === undefined) continue;
    const sum = fits.get(value);
    const capacity = Math.min(count, (sum?.capacity ?? 0) + room.capacity(needs, count));
    const best = sum === undefined || lessLoaded(room, sum.best) ? room : sum.best;
    fits.set(value, { capacity, best });
  }
  const ranked = [...fits].toSorted(([, a], [, b]) =>
    a.capacity === b.capacity ? (lessLoaded(a.best, b.best) ? -1 : 1) : b.capacity - a.capacity,
  );
  const first = ranked[0];
  if (first !== undefined && first[1].capacity > 0) rule.tally.set(first[0], 0);
}

function refuse(room: HostRoom, needs: Needs, rules: readonly TallyRule[]): Refusal | null {
  for (const rule of rules) {
    const reason = rule.refuse(room.load);
    if (reason !== null) return { stage: "constraint", reason };
  }
  return room.refuseNeeds(needs);
}
