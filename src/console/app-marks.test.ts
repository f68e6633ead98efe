import { expect, test } from "bun:test";
import { APP_COLOUR_COUNT, appLetters, planAppMarks } from "./app-marks.ts";
import { DARK_MAP, LIGHT_MAP } from "./map-theme.ts";

test("appLetters() tells versions and words apart", () => {
  const table: readonly (readonly [string, string])[] = [
    ["/nodejs-rest-api-v1", "N1"],
    ["/nodejs-rest-api-v2", "N2"],
    ["/shop/web", "SW"],
    ["/billing", "BI"],
    ["/x", "X"],
    ["/", "?"],
  ];
  for (const [id, letters] of table) expect(appLetters(id)).toBe(letters);
});

test("planAppMarks() gives as many apps as there are colours one each, alike in every browser", () => {
  const ids = Array.from({ length: APP_COLOUR_COUNT }, (_, index) => `/app-${index}`);
  const marks = planAppMarks(new Map(), ids);
  expect(new Set([...marks.values()].map((mark) => mark.colour)).size).toBe(APP_COLOUR_COUNT);
  expect(Object.fromEntries(planAppMarks(new Map(), ids.toReversed()))).toEqual(Object.fromEntries(marks));
});

test("planAppMarks() keeps an app's mark when others come and go", () => {
  const first = planAppMarks(new Map(), ["/m", "/n"]);
  const second = planAppMarks(first, ["/a", "/b", "/n"]);
  expect(second.get("/n")).toEqual(first.get("/n") ?? { colour: -1, letters: "" });
  expect(second.has("/m")).toBe(false);
});

test("map colours are readable in both themes", () => {
  for (const theme of [LIGHT_MAP, DARK_MAP]) {
    expect(theme.appFills.length).toBe(APP_COLOUR_COUNT);
    for (const fill of theme.appFills) {
      expect(contrast(fill, theme.appInk)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(fill, theme.box)).toBeGreaterThanOrEqual(3);
    }
    expect(contrast(theme.text, theme.box)).toBeGreaterThanOrEqual(7);
    expect(contrast(theme.textQuiet, theme.box)).toBeGreaterThanOrEqual(4.5);
    expect(contrast(theme.badInk, theme.bad)).toBeGreaterThanOrEqual(4.5);
    for (const sign of [theme.good, theme.warn, theme.bad, theme.focus, theme.barFill]) {
      expect(contrast(sign, theme.box)).toBeGreaterThanOrEqual(3);
    }
  }
});

/** Contrast ratio of WCAG 2. */
function contrast(a: string, b: string): number {
  const [light = 0, dark = 0] = [luminance(a), luminance(b)].toSorted((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(hex: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((start) => {
    const value = Number.parseInt(hex.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
