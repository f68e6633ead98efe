/**
 * The map's life on the page: takes the cluster's state, keeps slots and motion, and paints when something changed.
 * It stands outside React, since a component tree of five thousand cells would be slower than the painting itself.
 */
import type { HostJson, InstanceJson } from "../api/native/shapes.ts";
import type { AppMark } from "./app-marks.ts";
import { instanceState } from "./app-tally.ts";
import { drawMap } from "./draw-map.ts";
import type { FeedView } from "./feed-store.ts";
import { formatAppName } from "./format-quantity.ts";
import { formatAddress, formatInstanceState } from "./instance-text.ts";
import { MapMotion } from "./map-motion.ts";
import type { CellLook } from "./map-scene.ts";
import type { MapTheme } from "./map-theme.ts";
import {
  findOnMap,
  planMapLayout,
  planMapSlots,
  stepOnMap,
  type MapHit,
  type MapLayout,
  type MapSlots,
} from "./plan-map.ts";

export interface MapInput {
  readonly feed: FeedView;
  readonly marks: ReadonlyMap<string, AppMark>;
  readonly theme: MapTheme;
  readonly selected: MapHit | null;
  readonly spotlight: string | null;
  /** Ids of instances that the search leaves out. */
  readonly dimmed: ReadonlySet<string>;
}

/** A thing on the map and where it stands, in CSS pixels from the top left of the visible part. */
export interface MapSpot {
  readonly hit: MapHit;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface MapElements {
  readonly canvas: HTMLCanvasElement;
  /** Scrolls; the canvas stays in view inside it. */
  readonly scroller: HTMLElement;
  /** As high as the whole map, which gives the scroller its range. */
  readonly spacer: HTMLElement;
}

/** Empty space under the last row, so that a shadow or ring is not cut. */
const MAP_END = 14;

export class MapPainter {
  readonly #elements: MapElements;
  readonly #context: CanvasRenderingContext2D;
  readonly #motion = new MapMotion();
  readonly #still = window.matchMedia("(prefers-reduced-motion: reduce)");
  readonly #resizes: ResizeObserver;
  readonly #looks = new Map<string, CellLook>();
  #slots: MapSlots = new Map();
  #layout: MapLayout | null = null;
  #input: MapInput | null = null;
  #area = { width: 0, height: 0 };
  #room = 0;
  #hover: MapHit | null = null;
  #focus: MapHit | null = null;
  #frame = 0;

  constructor(elements: MapElements) {
    const context = elements.canvas.getContext("2d");
    if (context === null) throw new Error("This browser cannot draw on a canvas");
    this.#elements = elements;
    this.#context = context;
    this.#resizes = new ResizeObserver(() => this.#measure());
    this.#resizes.observe(elements.scroller);
    elements.scroller.addEventListener("scroll", this.#repaint, { passive: true });
    this.#measure();
  }

  close(): void {
    this.#resizes.disconnect();
    this.#elements.scroller.removeEventListener("scroll", this.#repaint);
    cancelAnimationFrame(this.#frame);
  }

  show(input: MapInput): void {
    const moved = this.#input?.feed !== input.feed;
    this.#input = input;
    if (moved) {
      const placements = input.feed.instances.map(({ id, host, app }) => ({ id, host, app }));
      const hosts = input.feed.hosts.map((host) => host.name);
      this.#slots = planMapSlots(this.#slots, hosts, placements);
      this.#arrange();
    }
    this.#updateLooks(input);
    this.#repaint();
  }

  /** What lies under a point of the canvas, given in CSS pixels; also remembered as hovered. */
  hoverAt(x: number, y: number): MapSpot | null {
    const hit = this.#layout === null ? null : findOnMap(this.#layout, x, y + this.#elements.scroller.scrollTop);
    if (hit?.kind !== this.#hover?.kind || hit?.key !== this.#hover?.key) {
      this.#hover = hit;
      this.#repaint();
    }
    const spot = hit === null ? null : this.locate(hit);
    // Between the cells of a host lies nothing to tell of; its facts belong to its head.
    const head = this.#layout?.headHeight ?? 0;
    return spot !== null && hit?.kind === "host" && y > spot.y + head ? null : spot;
  }

  /** What lies under a point, for a click. */
  hitAt(x: number, y: number): MapHit | null {
    return this.#layout === null ? null : findOnMap(this.#layout, x, y + this.#elements.scroller.scrollTop);
  }

  leave(): void {
    this.#hover = null;
    this.#repaint();
  }

  /** Moves the keyboard's place; scrolls it into view. */
  step(direction: "left" | "right" | "up" | "down"): MapHit | null {
    if (this.#layout === null) return null;
    this.focus(stepOnMap(this.#layout, this.#focus, direction));
    return this.#focus;
  }

  focus(hit: MapHit | null): void {
    this.#focus = hit;
    const spot = hit === null ? null : this.locate(hit);
    const { scroller } = this.#elements;
    if (spot !== null && spot.y < 0) scroller.scrollTop += spot.y - 12;
    if (spot !== null && spot.y + spot.height > this.#area.height) {
      scroller.scrollTop += spot.y + Math.min(spot.height, this.#area.height) - this.#area.height + 12;
    }
    this.#repaint();
  }

  focused(): MapHit | null {
    return this.#focus;
  }

  locate(hit: MapHit): MapSpot | null {
    const layout = this.#layout;
    if (layout === null) return null;
    const top = this.#elements.scroller.scrollTop;
    for (const box of layout.boxes) {
      if (hit.kind === "host" && box.host === hit.key) {
        return { hit, x: box.x, y: box.y - top, width: layout.boxWidth, height: layout.boxHeight };
      }
      const cell = hit.kind === "instance" ? box.cells.find((candidate) => candidate.id === hit.key) : undefined;
      if (cell !== undefined) {
        return { hit, x: cell.x, y: cell.y - top, width: layout.size.width, height: layout.size.height };
      }
    }
    return null;
  }

  #measure(): void {
    const { canvas, scroller } = this.#elements;
    const area = { width: scroller.clientWidth, height: scroller.clientHeight };
    // Where the map is as high as its content, up to a limit, it is planned for the limit: else it could never grow.
    const limit = Number.parseFloat(getComputedStyle(scroller).maxHeight);
    const room = Number.isNaN(limit) ? area.height : limit;
    if (area.width === this.#area.width && area.height === this.#area.height && room === this.#room) return;
    this.#area = area;
    this.#room = room;
    const ratio = window.devicePixelRatio;
    canvas.width = Math.round(area.width * ratio);
    canvas.height = Math.round(area.height * ratio);
    canvas.style.width = `${area.width}px`;
    canvas.style.height = `${area.height}px`;
    this.#arrange();
    // A resized canvas is blank until painted, and waiting for a frame would flash.
    this.#paint();
  }

  #arrange(): void {
    this.#layout = planMapLayout(this.#slots, { width: this.#area.width, height: this.#room - MAP_END });
    const height = `${this.#layout.height + MAP_END}px`;
    this.#elements.spacer.style.height = height;
    this.#elements.scroller.style.setProperty("--map-height", height);
    this.#motion.update(this.#layout, performance.now(), this.#still.matches);
  }

  #updateLooks(input: MapInput): void {
    const present = new Set<string>();
    for (const instance of input.feed.instances) {
      present.add(instance.id);
      const mark = input.marks.get(instance.app);
      if (mark === undefined) continue;
      this.#looks.set(instance.id, {
        state: instanceState(instance),
        mark,
        app: instance.app,
        name: formatAppName(instance.app),
        caption: formatCaption(instance),
        dimmed: input.dimmed.has(instance.id),
      });
    }
    const fading = new Set(this.#motion.cellsAt(performance.now()).map((cell) => cell.id));
    for (const id of this.#looks.keys()) if (!present.has(id) && !fading.has(id)) this.#looks.delete(id);
  }

  readonly #repaint = (): void => {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  };

  #paint(): void {
    const [input, layout] = [this.#input, this.#layout];
    if (input === null || layout === null) return;
    const nowMs = performance.now();
    const ratio = window.devicePixelRatio;
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawMap(this.#context, {
      layout,
      cells: this.#motion.cellsAt(nowMs),
      looks: this.#looks,
      hosts: new Map<string, HostJson>(input.feed.hosts.map((host) => [host.name, host])),
      theme: input.theme,
      hover: this.#hover,
      focus: document.activeElement === this.#elements.canvas ? this.#focus : null,
      selected: input.selected,
      spotlight: input.spotlight,
      scrollTop: this.#elements.scroller.scrollTop,
      ...this.#area,
    });
    if (this.#motion.isMoving(nowMs)) this.#repaint();
  }
}

function formatCaption(instance: InstanceJson): string {
  if (instance.address !== null) return formatAddress(instance);
  return instanceState(instance) === "starting" ? `${formatInstanceState(instance)}…` : formatInstanceState(instance);
}
