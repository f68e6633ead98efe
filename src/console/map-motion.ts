import type { MapLayout } from "./plan-map.ts";

/** A cell as it looks at one moment: `presence` runs from 0 (not there) to 1. */
export interface MovingCell {
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly presence: number;
}

interface Track {
  x: number;
  y: number;
  arrivedAtMs: number;
  /** Null while it is on the map. */
  leftAtMs: number | null;
}

/** Long enough to catch the eye, short enough not to be waited for. */
export const ARRIVE_MS = 260;
export const LEAVE_MS = 220;

/**
 * Fades cells in and out. Time is a parameter: the same calls give the same picture. The first layout appears at once,
 * since a page full of growing cells tells nothing.
 */
export class MapMotion {
  readonly #tracks = new Map<string, Track>();
  #settledAtMs = Number.NEGATIVE_INFINITY;
  #first = true;

  /** Takes a new layout; `still` shows it without motion. */
  update(layout: MapLayout, nowMs: number, still: boolean): void {
    const atOnce = still || this.#first;
    this.#first = this.#first && layout.boxes.length === 0;
    const present = new Set<string>();
    for (const box of layout.boxes) {
      for (const cell of box.cells) {
        present.add(cell.id);
        const track = this.#tracks.get(cell.id);
        if (track === undefined || track.leftAtMs !== null) {
          const arrivedAtMs = atOnce ? Number.NEGATIVE_INFINITY : nowMs;
          this.#tracks.set(cell.id, { x: cell.x, y: cell.y, arrivedAtMs, leftAtMs: null });
          if (!atOnce) this.#settledAtMs = Math.max(this.#settledAtMs, nowMs + ARRIVE_MS);
        } else {
          track.x = cell.x;
          track.y = cell.y;
        }
      }
    }
    for (const [id, track] of this.#tracks) {
      if (present.has(id)) continue;
      if (atOnce) this.#tracks.delete(id);
      else if (track.leftAtMs === null) {
        track.leftAtMs = nowMs;
        this.#settledAtMs = Math.max(this.#settledAtMs, nowMs + LEAVE_MS);
      }
    }
  }

  /** True when a later moment looks different without a new layout. */
  isMoving(nowMs: number): boolean {
    return nowMs < this.#settledAtMs;
  }

  /** The cells to draw at this moment; those that have faded out are forgotten. */
  cellsAt(nowMs: number): readonly MovingCell[] {
    const cells: MovingCell[] = [];
    for (const [id, track] of this.#tracks) {
      const presence =
        track.leftAtMs === null
          ? ease((nowMs - track.arrivedAtMs) / ARRIVE_MS)
          : 1 - ease((nowMs - track.leftAtMs) / LEAVE_MS);
      if (track.leftAtMs !== null && presence <= 0) this.#tracks.delete(id);
      else cells.push({ id, x: track.x, y: track.y, presence });
    }
    return cells;
  }
}

/** Fast at first, slow at the end. */
function ease(progress: number): number {
  const clamped = Math.min(1, Math.max(0, progress));
  return 1 - (1 - clamped) ** 3;
}
