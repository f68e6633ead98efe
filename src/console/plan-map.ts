/**
 * Where everything stands on the map: hosts as equal boxes in the order of their names, instances as cells in a grid
 * inside. Two rules keep the picture calm. An instance keeps its slot for life: a freed slot stays empty until a new
 * instance takes it. And boxes are sized for a rounded-up number of slots, so that one instance more seldom changes any
 * size. Cells are as large as the area allows; when even the smallest do not fit, the map scrolls.
 */
export interface MapPlacement {
  readonly id: string;
  readonly host: string;
  /** Groups instances of one app side by side when they are seen first. */
  readonly app: string;
}

/** Instance ids by slot, per host in drawing order; null is a free slot. */
export type MapSlots = ReadonlyMap<string, readonly (string | null)[]>;

export interface CellSize {
  /** `plate` has room for name and address, `card` for an address, `tile` for letters, `dot` for colour and mark only. */
  readonly kind: "plate" | "card" | "tile" | "dot";
  readonly width: number;
  readonly height: number;
  readonly gap: number;
}

export interface MapCell {
  readonly id: string;
  readonly x: number;
  readonly y: number;
}

export interface MapBox {
  readonly host: string;
  readonly x: number;
  readonly y: number;
  readonly cells: readonly MapCell[];
}

export interface MapLayout {
  readonly size: CellSize;
  readonly boxWidth: number;
  readonly boxHeight: number;
  readonly headHeight: number;
  readonly padding: number;
  readonly perRow: number;
  readonly height: number;
  readonly boxes: readonly MapBox[];
}

export type MapHit = { readonly kind: "host" | "instance"; readonly key: string };

const CELL_SIZES: readonly CellSize[] = [
  { kind: "plate", width: 168, height: 50, gap: 8 },
  { kind: "card", width: 140, height: 36, gap: 7 },
  { kind: "tile", width: 40, height: 40, gap: 6 },
  { kind: "tile", width: 30, height: 30, gap: 5 },
  { kind: "tile", width: 22, height: 22, gap: 4 },
  { kind: "dot", width: 15, height: 15, gap: 3 },
  { kind: "dot", width: 11, height: 11, gap: 3 },
];
export const BOX_GAP = 12;
/** A single host must not stretch over a wide screen. */
const BOX_WIDTH_MAX = 620;

/** Assigns slots: those of `previous` are kept, newcomers fill free slots in order of app and id. */
export function planMapSlots(
  previous: MapSlots,
  hosts: readonly string[],
  placements: readonly MapPlacement[],
): MapSlots {
  const known = new Set(hosts);
  const byHost = Map.groupBy(placements, (placement) => placement.host);
  // Instances may outlive the record of their host for a moment; they must not vanish from the picture.
  const strays = [...byHost.keys()].filter((host) => !known.has(host)).toSorted(compareText);
  const slots = new Map<string, readonly (string | null)[]>();
  for (const host of [...hosts, ...strays])
    slots.set(host, fillSlots(previous.get(host) ?? [], byHost.get(host) ?? []));
  return slots;
}

function fillSlots(
  previous: readonly (string | null)[],
  placements: readonly MapPlacement[],
): readonly (string | null)[] {
  const present = new Set(placements.map((placement) => placement.id));
  const slots = previous.map((id) => (id !== null && present.has(id) ? id : null));
  const seated = new Set(slots);
  const newcomers = placements
    .filter((placement) => !seated.has(placement.id))
    .toSorted((a, b) => compareText(a.app, b.app) || compareText(a.id, b.id));
  let next = 0;
  for (const { id } of newcomers) {
    while (next < slots.length && slots[next] !== null) next += 1;
    slots[next] = id;
  }
  while (slots.length > 0 && slots.at(-1) === null) slots.pop();
  return slots;
}

/** Slots a box is sized for: 4, 6, 8, then steps of about a third. */
export function slotCapacity(used: number): number {
  let capacity = 4;
  while (capacity < used) capacity = capacity < 8 ? capacity + 2 : Math.ceil((capacity * 4) / 3 / 4) * 4;
  return capacity;
}

/** Positions for an area of the given size in CSS pixels. */
export function planMapLayout(slots: MapSlots, area: { readonly width: number; readonly height: number }): MapLayout {
  const capacity = slotCapacity(Math.max(0, ...[...slots.values()].map((ids) => ids.length)));
  const frames = CELL_SIZES.map((size) => fitFrame(size, { hosts: slots.size, capacity, width: area.width }));
  const frame = frames.find((candidate) => candidate.height <= area.height) ?? frames.at(-1);
  if (frame === undefined) throw new Error("No cell size is defined");
  const boxes = [...slots].map(([host, ids], index) => placeBox(frame, { host, ids, index }));
  return { ...frame, boxes };
}

type Frame = Omit<MapLayout, "boxes"> & { readonly columns: number };

/** The number of boxes a row that gives the least height, for one size of cells. */
function fitFrame(
  size: CellSize,
  need: { readonly hosts: number; readonly capacity: number; readonly width: number },
): Frame {
  const dot = size.kind === "dot";
  const [headHeight, padding, widthMin] = dot ? [34, 9, 96] : [74, 14, 196];
  const hosts = Math.max(1, need.hosts);
  let best: Frame | null = null;
  for (let perRow = 1; perRow <= hosts; perRow++) {
    const boxWidth = Math.min(BOX_WIDTH_MAX, Math.floor((need.width - BOX_GAP * (perRow - 1)) / perRow));
    if (boxWidth < widthMin && perRow > 1) break;
    const columns = Math.max(1, Math.floor((boxWidth - 2 * padding + size.gap) / (size.width + size.gap)));
    const rows = Math.ceil(need.capacity / columns);
    // Cells with text take the whole width of their column; squares stay squares.
    const full = Math.floor((boxWidth - 2 * padding - size.gap * (columns - 1)) / columns);
    const stretched = size.kind === "plate" || size.kind === "card" ? { ...size, width: full } : size;
    const boxHeight = headHeight + padding + rows * (size.height + size.gap) - size.gap;
    const height = Math.ceil(hosts / perRow) * (boxHeight + BOX_GAP) - BOX_GAP;
    if (best === null || height < best.height) {
      best = { size: stretched, boxWidth, boxHeight, headHeight, padding, perRow, height, columns };
    }
  }
  if (best === null) throw new Error("No frame was tried");
  return best;
}

function placeBox(
  frame: Frame,
  box: { readonly host: string; readonly ids: readonly (string | null)[]; readonly index: number },
): MapBox {
  const x = (box.index % frame.perRow) * (frame.boxWidth + BOX_GAP);
  const y = Math.floor(box.index / frame.perRow) * (frame.boxHeight + BOX_GAP);
  const cells: MapCell[] = [];
  for (const [slot, id] of box.ids.entries()) {
    if (id === null) continue;
    const column = slot % frame.columns;
    const row = Math.floor(slot / frame.columns);
    cells.push({
      id,
      x: x + frame.padding + column * (frame.size.width + frame.size.gap),
      y: y + frame.headHeight + row * (frame.size.height + frame.size.gap),
    });
  }
  return { host: box.host, x, y, cells };
}

/** What lies under a point: an instance, the rest of a host's box, or nothing. */
export function findOnMap(layout: MapLayout, x: number, y: number): MapHit | null {
  const box = layout.boxes.find(
    (candidate) =>
      x >= candidate.x && x < candidate.x + layout.boxWidth && y >= candidate.y && y < candidate.y + layout.boxHeight,
  );
  if (box === undefined) return null;
  // Half the gap belongs to each neighbour, so that small dots are easy to hit.
  const slack = layout.size.gap / 2;
  const cell = box.cells.find(
    (candidate) =>
      x >= candidate.x - slack &&
      x < candidate.x + layout.size.width + slack &&
      y >= candidate.y - slack &&
      y < candidate.y + layout.size.height + slack,
  );
  return cell === undefined ? { kind: "host", key: box.host } : { kind: "instance", key: cell.id };
}

/** The neighbour in reading order (left, right) or the nearest in the row above or below; what arrow keys follow. */
export function stepOnMap(
  layout: MapLayout,
  from: MapHit | null,
  direction: "left" | "right" | "up" | "down",
): MapHit | null {
  const stops = layout.boxes.flatMap((box) => [
    { hit: { kind: "host", key: box.host } as MapHit, x: box.x, y: box.y },
    ...box.cells.map((cell) => ({ hit: { kind: "instance", key: cell.id } as MapHit, x: cell.x, y: cell.y })),
  ]);
  const at = stops.findIndex((stop) => stop.hit.kind === from?.kind && stop.hit.key === from.key);
  const current = stops[at];
  if (current === undefined) return stops[0]?.hit ?? null;
  if (direction === "left") return stops[Math.max(0, at - 1)]?.hit ?? null;
  if (direction === "right") return stops[Math.min(stops.length - 1, at + 1)]?.hit ?? null;
  const sign = direction === "down" ? 1 : -1;
  const beyond = stops.filter((stop) => (stop.y - current.y) * sign > 0);
  const nearest = Math.min(...beyond.map((stop) => (stop.y - current.y) * sign));
  const row = beyond.filter((stop) => (stop.y - current.y) * sign === nearest);
  return row.toSorted((a, b) => Math.abs(a.x - current.x) - Math.abs(b.x - current.x))[0]?.hit ?? current.hit;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
