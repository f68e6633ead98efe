import type { HostJson } from "../api/native/shapes.ts";
import type { AppMark } from "./app-marks.ts";
import type { InstanceState } from "./app-tally.ts";
import type { MovingCell } from "./map-motion.ts";
import type { MapTheme } from "./map-theme.ts";
import type { MapHit, MapLayout } from "./plan-map.ts";

/** What a cell shows besides its place. */
export interface CellLook {
  readonly state: InstanceState;
  readonly mark: AppMark;
  readonly app: string;
  /** The app's name. */
  readonly name: string;
  /** Address, or what it is doing while it has none. */
  readonly caption: string;
  /** Left out by the search. */
  readonly dimmed: boolean;
}

export interface MapScene {
  readonly layout: MapLayout;
  readonly cells: readonly MovingCell[];
  readonly looks: ReadonlyMap<string, CellLook>;
  readonly hosts: ReadonlyMap<string, HostJson>;
  readonly theme: MapTheme;
  readonly hover: MapHit | null;
  readonly focus: MapHit | null;
  readonly selected: MapHit | null;
  /** Siblings of this app keep their colour, all others step back. */
  readonly spotlight: string | null;
  readonly scrollTop: number;
  readonly width: number;
  readonly height: number;
}
