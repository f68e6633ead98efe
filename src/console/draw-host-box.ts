import type { HostJson } from "../api/native/shapes.ts";
import { fitText, MAP_FONT, roundedPath } from "./draw-shapes.ts";
import { formatCpus, formatMemory } from "./format-quantity.ts";
import type { MapScene } from "./map-scene.ts";
import type { MapTheme } from "./map-theme.ts";
import type { MapBox, MapHit } from "./plan-map.ts";

/** A host: frame, state, name, block and how much of it is taken. A dashed frame says that it is not there. */
export function drawHostBox(context: CanvasRenderingContext2D, scene: MapScene, box: MapBox): void {
  const { layout, theme } = scene;
  const host = scene.hosts.get(box.host);
  const down = host === undefined || host.phase === "down";
  const is = (hit: MapHit | null): boolean => hit?.kind === "host" && hit.key === box.host;
  context.globalAlpha = 1;
  context.fillStyle = theme.box;
  roundedPath(context, { x: box.x + 0.5, y: box.y + 0.5, width: layout.boxWidth - 1, height: layout.boxHeight - 1 }, 8);
  context.fill();
  context.lineWidth = is(scene.selected) || is(scene.focus) ? 2 : 1;
  context.strokeStyle = is(scene.selected) || is(scene.focus) ? theme.focus : down ? theme.bad : theme.boxEdge;
  if (is(scene.hover) && context.lineWidth === 1 && !down) context.strokeStyle = theme.boxHover;
  context.setLineDash(down ? [5, 4] : []);
  context.stroke();
  context.setLineDash([]);
  if (layout.size.kind === "dot") drawSmallHead(context, scene, { box, host });
  else drawLargeHead(context, scene, { box, host });
}

/** Between the two bars of a large head. */
const GAP = 16;

interface Head {
  readonly box: MapBox;
  readonly host: HostJson | undefined;
}

function drawSmallHead(context: CanvasRenderingContext2D, scene: MapScene, { box, host }: Head): void {
  const { layout, theme } = scene;
  const left = box.x + layout.padding;
  const inner = layout.boxWidth - 2 * layout.padding;
  drawPhase(context, theme, { host, x: left + 4, y: box.y + 13 });
  context.font = `600 11px ${MAP_FONT}`;
  context.fillStyle = theme.text;
  context.fillText(fitText(context, box.host, inner - 14), left + 13, box.y + 13.5);
  if (host === undefined) return;
  const half = (inner - 4) / 2;
  drawBar(context, theme, { x: left, y: box.y + 23, width: half, height: 3, share: share(host.cpus) });
  drawBar(context, theme, { x: left + half + 4, y: box.y + 23, width: half, height: 3, share: share(host.memoryMiB) });
}

function drawLargeHead(context: CanvasRenderingContext2D, scene: MapScene, { box, host }: Head): void {
  const { layout, theme } = scene;
  const left = box.x + layout.padding;
  const inner = layout.boxWidth - 2 * layout.padding;
  drawPhase(context, theme, { host, x: left + 5, y: box.y + 21 });
  context.font = `650 14px ${MAP_FONT}`;
  context.fillStyle = theme.text;
  const name = fitText(context, box.host, inner * 0.55);
  context.fillText(name, left + 17, box.y + 21.5);
  const nameWidth = context.measureText(name).width;
  context.font = `12px ${MAP_FONT}`;
  context.fillStyle = theme.textQuiet;
  const note = hostNote(host);
  context.textAlign = "right";
  context.fillText(fitText(context, note, inner - nameWidth - 30), left + inner, box.y + 21.5);
  context.textAlign = "left";
  if (host === undefined) return;
  const half = (inner - GAP) / 2;
  const bars = [
    { x: left, label: "CPU", figures: `${formatCpus(host.cpus.used)} / ${formatCpus(host.cpus.total)}`, of: host.cpus },
    { x: left + half + GAP, label: "Mem", figures: memoryFigures(host), of: host.memoryMiB },
  ];
  for (const bar of bars) {
    context.font = `11px ${MAP_FONT}`;
    context.fillStyle = theme.textQuiet;
    context.fillText(bar.label, bar.x, box.y + 43);
    context.textAlign = "right";
    const room = half - context.measureText(bar.label).width - 8;
    const fits = context.measureText(bar.figures).width <= room;
    context.fillText(fits ? bar.figures : `${Math.round(share(bar.of) * 100)} %`, bar.x + half, box.y + 43);
    context.textAlign = "left";
    drawBar(context, theme, { x: bar.x, y: box.y + 53, width: half, height: 5, share: share(bar.of) });
  }
}

function memoryFigures(host: HostJson): string {
  const { used, total } = host.memoryMiB;
  if (total < 1024) return `${Math.round(used)} / ${formatMemory(total)}`;
  return `${Math.round((used / 1024) * 10) / 10} / ${formatMemory(total)}`;
}

function hostNote(host: HostJson | undefined): string {
  if (host === undefined) return "not in the cluster";
  if (host.phase === "down") return "down";
  if (host.phase === "joining") return "joining…";
  return host.cordoned ? "cordoned" : host.blocks.join(" ");
}

/** A disc for up, a ring for joining, a cross for down, a bar through the disc for cordoned. */
function drawPhase(
  context: CanvasRenderingContext2D,
  theme: MapTheme,
  at: { readonly host: HostJson | undefined; readonly x: number; readonly y: number },
): void {
  const { host, x, y } = at;
  const phase = host?.phase ?? "down";
  context.lineWidth = 2;
  context.beginPath();
  if (phase === "down") {
    context.strokeStyle = theme.bad;
    context.moveTo(x - 3.5, y - 3.5);
    context.lineTo(x + 3.5, y + 3.5);
    context.moveTo(x + 3.5, y - 3.5);
    context.lineTo(x - 3.5, y + 3.5);
    context.stroke();
    return;
  }
  context.arc(x, y, 4, 0, Math.PI * 2);
  context.fillStyle = host?.cordoned === true ? theme.warn : theme.good;
  context.strokeStyle = context.fillStyle;
  if (phase === "up") context.fill();
  else context.stroke();
  if (host?.cordoned === true) {
    context.fillStyle = theme.box;
    context.fillRect(x - 3, y - 1, 6, 2);
  }
}

function drawBar(
  context: CanvasRenderingContext2D,
  theme: MapTheme,
  bar: {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
    readonly share: number;
  },
): void {
  context.fillStyle = theme.barTrack;
  roundedPath(context, bar, bar.height / 2);
  context.fill();
  if (bar.share <= 0) return;
  context.fillStyle = bar.share >= 0.9 ? theme.barFull : theme.barFill;
  roundedPath(context, { ...bar, width: Math.max(bar.height, bar.width * Math.min(1, bar.share)) }, bar.height / 2);
  context.fill();
}

function share(amount: { readonly used: number; readonly total: number }): number {
  return amount.total > 0 ? amount.used / amount.total : 0;
}
