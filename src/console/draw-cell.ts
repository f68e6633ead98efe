import type { InstanceState } from "./app-tally.ts";
import { fitText, inset, MAP_FONT, roundedPath, type Shape } from "./draw-shapes.ts";
import type { MovingCell } from "./map-motion.ts";
import type { CellLook, MapScene } from "./map-scene.ts";
import type { MapTheme } from "./map-theme.ts";
import type { MapHit } from "./plan-map.ts";

/** An instance. Its state is told by form as well as by colour, see draw-map.ts. */
export function drawCell(
  context: CanvasRenderingContext2D,
  scene: MapScene,
  item: { readonly cell: MovingCell; readonly look: CellLook },
): void {
  const { cell, look } = item;
  const { theme, layout } = scene;
  const { kind, width, height } = layout.size;
  const fill = theme.appFills[look.mark.colour] ?? theme.textQuiet;
  const back = look.dimmed || (scene.spotlight !== null && scene.spotlight !== look.app);
  const alpha = cell.presence * (back ? 0.16 : 1);
  context.globalAlpha = alpha;
  const shrink = 0.6 + 0.4 * cell.presence;
  const shape = {
    x: cell.x + (width * (1 - shrink)) / 2,
    y: cell.y + (height * (1 - shrink)) / 2,
    width: width * shrink,
    height: height * shrink,
  };
  const radius = kind === "dot" ? 2.5 : kind === "tile" ? 5 : 7;
  const solid = look.state === "ready" || look.state === "unhealthy" || look.state === "leaving";
  if (solid) {
    // Leaving ones fade their ground, not their text: it must stay readable.
    const ground = look.state === "leaving" ? 0.3 : 1;
    drawGround(context, { shape, radius, kind, fill, alpha, ground });
  } else {
    const edge = look.state === "starting" ? fill : theme.bad;
    context.strokeStyle = edge;
    context.lineWidth = kind === "dot" ? 1.5 : 2;
    context.setLineDash(look.state === "starting" ? (kind === "dot" ? [2.5, 2] : [5, 3]) : []);
    roundedPath(context, inset(shape, 1), radius);
    context.stroke();
    context.setLineDash([]);
  }
  const ink = solid && look.state !== "leaving" ? theme.appInk : theme.text;
  if (kind !== "dot") drawCellText(context, scene, { ...item, ink });
  drawCellRing(context, scene, { id: cell.id, shape, radius });
  drawCellState(context, theme, { state: look.state, shape, kind });
}

/** Width of the coloured part of a plate or card, which holds the letters. */
const BADGE_WIDTH = 42;

function drawGround(
  context: CanvasRenderingContext2D,
  cell: {
    readonly shape: Shape;
    readonly radius: number;
    readonly kind: string;
    readonly fill: string;
    readonly alpha: number;
    readonly ground: number;
  },
): void {
  const { shape, radius, alpha } = cell;
  context.fillStyle = cell.fill;
  context.globalAlpha = alpha * cell.ground;
  if (cell.kind === "dot") context.fillRect(shape.x, shape.y, shape.width, shape.height);
  else if (cell.kind === "tile") {
    roundedPath(context, shape, radius);
    context.fill();
  } else {
    context.beginPath();
    context.roundRect(shape.x, shape.y, Math.min(BADGE_WIDTH, shape.width), shape.height, [radius, 0, 0, radius]);
    context.fill();
    // The rest is a tint, so that a wall of large cells does not shout.
    context.globalAlpha = alpha * cell.ground * 0.15;
    roundedPath(context, shape, radius);
    context.fill();
  }
  context.globalAlpha = alpha;
}

function drawCellText(
  context: CanvasRenderingContext2D,
  scene: MapScene,
  item: { readonly cell: MovingCell; readonly look: CellLook; readonly ink: string },
): void {
  const { cell, look } = item;
  const { kind, width, height } = scene.layout.size;
  context.fillStyle = item.ink;
  const middle = cell.y + height / 2 + 0.5;
  if (kind === "tile") {
    context.font = `650 ${height >= 38 ? 14 : height >= 28 ? 12 : 10}px ${MAP_FONT}`;
    context.textAlign = "center";
    context.fillText(look.mark.letters, cell.x + width / 2, middle);
    context.textAlign = "left";
    return;
  }
  context.font = `700 13px ${MAP_FONT}`;
  context.textAlign = "center";
  context.fillText(look.mark.letters, cell.x + BADGE_WIDTH / 2, middle);
  context.textAlign = "left";
  context.fillStyle = scene.theme.text;
  const left = cell.x + BADGE_WIDTH + 11;
  const room = width - BADGE_WIDTH - 19;
  if (kind === "card") {
    context.font = `12px ${MAP_FONT}`;
    context.fillText(fitText(context, look.caption, room), left, middle);
    return;
  }
  context.font = `600 13px ${MAP_FONT}`;
  context.fillText(fitText(context, look.name, room), left, middle - 9);
  context.font = `12px ${MAP_FONT}`;
  context.fillStyle = scene.theme.textQuiet;
  const note = look.state === "unhealthy" ? " · unhealthy" : look.state === "leaving" ? " · stopping" : "";
  const caption = look.caption + note;
  context.fillText(fitText(context, caption, room), left, middle + 9);
}

/** The mark that tells a state without its colour. */
function drawCellState(
  context: CanvasRenderingContext2D,
  theme: MapTheme,
  item: { readonly state: InstanceState; readonly shape: Shape; readonly kind: string },
): void {
  const { state, shape, kind } = item;
  if (state !== "unhealthy" && state !== "failed" && state !== "lost") return;
  if (kind === "dot") {
    context.strokeStyle = theme.bad;
    context.lineWidth = 2;
    const box = inset(shape, 1);
    context.strokeRect(box.x, box.y, box.width, box.height);
    context.beginPath();
    context.moveTo(box.x, box.y + box.height);
    context.lineTo(box.x + box.width, box.y);
    context.stroke();
    return;
  }
  const radius = shape.height >= 34 ? 8 : 6;
  const x = shape.x + shape.width - radius / 2;
  const y = shape.y + radius / 2;
  context.fillStyle = theme.bad;
  context.beginPath();
  context.arc(x, y, radius, 0, Math.PI * 2);
  context.fill();
  context.strokeStyle = theme.box;
  context.lineWidth = 1.5;
  context.stroke();
  context.fillStyle = theme.badInk;
  context.font = `700 ${radius + 3}px ${MAP_FONT}`;
  context.textAlign = "center";
  context.fillText(state === "unhealthy" ? "!" : state === "failed" ? "×" : "?", x, y + 0.5);
  context.textAlign = "left";
}

function drawCellRing(
  context: CanvasRenderingContext2D,
  scene: MapScene,
  item: { readonly id: string; readonly shape: Shape; readonly radius: number },
): void {
  const is = (hit: MapHit | null): boolean => hit?.kind === "instance" && hit.key === item.id;
  const strong = is(scene.selected) || is(scene.focus);
  if (!strong && !is(scene.hover)) return;
  context.strokeStyle = strong ? scene.theme.focus : scene.theme.text;
  context.lineWidth = strong ? 2.5 : 1.5;
  roundedPath(context, inset(item.shape, -2), item.radius + 2);
  context.stroke();
}
