/**
 * Choice of a host for each instance. A host must be up, not cordoned, pass the app's constraints and have room. Of those
 * the one with the fewest instances of the app wins (spread), then the lowest used share of cpu or memory, then the
 * name.
 *
 * Hosts lie in a heap by load, shared by all apps of a pass. An app without constraints takes hosts off its top: hosts
 * without an instance of the app come from there, those with one from a small heap of the app's own. So an instance costs
 * a few comparisons, not a look at every host. Apps with constraints look at every host once a call (`place-constrained`).
 */
import type { AppSpec } from "../model/app.ts";
import type { Problem } from "../model/deployment.ts";
import type { HostId } from "../model/ids.ts";
import { hostRules } from "./constraints.ts";
import { Heap } from "./heap.ts";
import { needsOf } from "./host-load.ts";
import type { HostLoad, Needs } from "./host-load.ts";
import { HostRoom, lessLoaded } from "./host-room.ts";
import type { Refusal } from "./host-room.ts";
import { placeConstrained } from "./place-constrained.ts";
import { placementProblem } from "./placement-problem.ts";

/** An instance of the app's wanted definition that is there already. */
export interface Placed {
  readonly hostId: HostId;
  /** Draining or stopping: constraints still count it, spreading does not. */
  readonly leaving: boolean;
}

export interface PlacementRequest {
  readonly spec: AppSpec;
  /** Instances to add. */
  readonly count: number;
  readonly existing: readonly Placed[];
}

export interface Placement {
  /** A host for each instance that found one, in order of choice. */
  readonly placed: readonly HostId[];
  /** Why fewer than asked were placed, with a reason for each host. */
  readonly problem: Problem | null;
}

/** Places instances of one app. For several apps in a pass use one `Placer`, which remembers what it gave away. */
export function placeInstances(request: PlacementRequest & { readonly hosts: readonly HostLoad[] }): Placement {
  return new Placer(request.hosts).place(request);
}

/** The free room of all hosts over one pass of the scheduler. */
export class Placer {
  readonly #rooms: readonly HostRoom[];
  readonly #byId: ReadonlyMap<HostId, HostRoom>;
  /** Null after a call that changed loads without going through the heap. */
  #byLoad: Heap<HostRoom> | null = null;
  /** Needs that found no room earlier in this pass: room only shrinks, so they need not be tried again. */
  readonly #hopeless = new Map<string, readonly Refusal[]>();

  constructor(hosts: readonly HostLoad[]) {
    const sorted = hosts.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.#rooms = sorted.map((load, index) => new HostRoom(load, index));
    this.#byId = new Map(this.#rooms.map((room) => [room.load.id, room]));
  }

  place(request: PlacementRequest): Placement {
    const { spec, count } = request;
    const needs = needsOf(spec);
    if (spec.constraints.length > 0) return this.#placeConstrained(request, needs);
    const shape = `${needs.cpus} ${needs.memoryMiB} ${needs.diskMiB} ${needs.addresses}`;
    const known = this.#hopeless.get(shape);
    if (known !== undefined) return { placed: [], problem: this.#problem(spec, count, known) };
    const placed = this.#placeFree(request, needs);
    if (placed.length === count) return { placed, problem: null };
    const refusals = this.#rooms.map((room) => room.refuseState() ?? room.refuseNeeds(needs) ?? NO_REASON);
    this.#hopeless.set(shape, refusals);
    return { placed, problem: this.#problem(spec, count - placed.length, refusals) };
  }

  #placeFree(request: PlacementRequest, needs: Needs): HostId[] {
    this.#byLoad ??= new Heap(
      lessLoaded,
      this.#rooms.filter((room) => room.takesInstances),
    );
    const byLoad = this.#byLoad;
    const counts = this.#spread(request);
    const own = new Heap<OwnHost>(
      (a, b) => (a.count === b.count ? lessLoaded(a.room, b.room) : a.count < b.count),
      [...counts].filter(([room]) => room.takesInstances).map(([room, here]) => ({ room, count: here })),
    );
    const aside: HostRoom[] = [];
    const placed: HostId[] = [];
    while (placed.length < request.count) {
      const fresh = byLoad.pop();
      if (fresh !== undefined) {
        // It goes back with its new load when this app is done; the app's own instances come from `own`.
        aside.push(fresh);
        if (counts.has(fresh) || !fresh.fits(needs)) continue;
        fresh.take(needs);
        placed.push(fresh.load.id);
        own.push({ room: fresh, count: 1 });
        continue;
      }
      const used = own.pop();
      if (used === undefined) break;
      if (!used.room.fits(needs)) continue;
      used.room.take(needs);
      placed.push(used.room.load.id);
      own.push({ room: used.room, count: used.count + 1 });
    }
    for (const room of aside) byLoad.push(room);
    return placed;
  }

  #placeConstrained(request: PlacementRequest, needs: Needs): Placement {
    this.#byLoad = null;
    const { spec, count } = request;
    const rules = hostRules(spec.constraints);
    const refusals: (Refusal | null)[] = this.#rooms.map((room) => {
      const state = room.refuseState();
      if (state !== null) return state;
      for (const rule of rules) {
        const reason = rule.refuse(room.load);
        if (reason !== null) return { stage: "constraint", reason };
      }
      return null;
    });
    const { placed, refuse } = placeConstrained({
      needs,
      count,
      constraints: spec.constraints,
      rooms: this.#rooms.filter((room) => refusals[room.index] === null),
      existing: request.existing.flatMap(({ hostId }) => this.#byId.get(hostId) ?? []),
      spread: this.#spread(request),
    });
    if (placed.length === count) return { placed, problem: null };
    const reasons = this.#rooms.map((room) => refusals[room.index] ?? refuse(room) ?? NO_REASON);
    return { placed, problem: this.#problem(spec, count - placed.length, reasons) };
  }

  /** Staying instances of the app on each host. */
  #spread({ existing }: PlacementRequest): Map<HostRoom, number> {
    const counts = new Map<HostRoom, number>();
    for (const { hostId, leaving } of existing) {
      const room = this.#byId.get(hostId);
      if (room !== undefined && !leaving) counts.set(room, (counts.get(room) ?? 0) + 1);
    }
    return counts;
  }

  #problem(spec: AppSpec, count: number, refusals: readonly Refusal[]): Problem {
    const names = this.#rooms.map((room) => room.load.name);
    return placementProblem({ appId: spec.id, count, names, refusals });
  }
}

interface OwnHost {
  readonly room: HostRoom;
  readonly count: number;
}

/** Cannot be: a host that refuses nothing would have been chosen. Said rather than hidden, should it ever be. */
const NO_REASON: Refusal = { stage: "state", reason: "no reason is known" };
