/** Network coordinates that nodes report (Vivaldi, as Serf has them): in memory, since they age in seconds. */
import { byText } from "./catalog-view.ts";
import type { Registry } from "./registry.ts";
import { topic } from "./touched.ts";

export interface Coordinate {
  readonly vec: readonly number[];
  readonly error: number;
  readonly adjustment: number;
  readonly height: number;
}

export class Coordinates {
  readonly #registry: Registry;
  readonly #byNode = new Map<string, Coordinate>();

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  update(node: string, coordinate: Coordinate): void {
    this.#byNode.set(node, coordinate);
    this.#registry.touch(topic.coordinates);
  }

  get(node: string): Coordinate | null {
    return this.#byNode.get(node) ?? null;
  }

  /** Of nodes that are there, by name. */
  list(): readonly { readonly node: string; readonly coordinate: Coordinate }[] {
    return [...this.#byNode]
      .filter(([node]) => this.#registry.view.node(node) !== null)
      .map(([node, coordinate]) => ({ node, coordinate }))
      .toSorted((a, b) => byText(a.node, b.node));
  }

  /** Items by distance of their nodes to one; the node itself first, those without a coordinate last, else as they were. */
  sortNear<Item>(items: readonly Item[], near: string, nodeOf: (item: Item) => string): readonly Item[] {
    if (near === "") return items;
    const from = this.get(near);
    const distance = (node: string): number => {
      if (node === near) return -1;
      const to = this.get(node);
      return from === null || to === null ? Infinity : distanceS(from, to);
    };
    return items
      .map((item) => ({ item, at: distance(nodeOf(item)) }))
      .toSorted((a, b) => (a.at === b.at ? 0 : a.at - b.at))
      .map(({ item }) => item);
  }
}

/** Estimated round trip in seconds. */
function distanceS(a: Coordinate, b: Coordinate): number {
  const squares = a.vec.map((each, at) => (each - (b.vec[at] ?? 0)) ** 2);
  const raw = Math.sqrt(squares.reduce((sum, each) => sum + each, 0)) + a.height + b.height;
  const adjusted = raw + a.adjustment + b.adjustment;
  return adjusted > 0 ? adjusted : raw;
}
