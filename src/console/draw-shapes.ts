export const MAP_FONT = '"Inter", system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif';

/** A rectangle in CSS pixels. */
export interface Shape {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Starts a path; the caller fills or strokes it. */
export function roundedPath(context: CanvasRenderingContext2D, shape: Shape, radius: number): void {
  context.beginPath();
  context.roundRect(shape.x, shape.y, shape.width, shape.height, radius);
}

export function inset(shape: Shape, by: number): Shape {
  return { x: shape.x + by, y: shape.y + by, width: shape.width - 2 * by, height: shape.height - 2 * by };
}

/** Cuts a text to a width, with an ellipsis. */
export function fitText(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return end <= 1 ? "" : `${text.slice(0, end)}…`;
}
