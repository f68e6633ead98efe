/**
 * Colours of the map, for both themes. App fills avoid pure red and green and are of like lightness, so that letters on
 * them are readable (4.5:1) and cells stand out from a host's box (3:1); a test computes both.
 */
export interface MapTheme {
  readonly box: string;
  readonly boxEdge: string;
  readonly boxHover: string;
  readonly text: string;
  readonly textQuiet: string;
  readonly barTrack: string;
  readonly barFill: string;
  readonly barFull: string;
  readonly focus: string;
  readonly bad: string;
  readonly warn: string;
  readonly good: string;
  /** On `bad`. */
  readonly badInk: string;
  readonly appInk: string;
  readonly appFills: readonly string[];
}

export const LIGHT_MAP: MapTheme = {
  box: "#ffffff",
  boxEdge: "#d9dce3",
  boxHover: "#9aa3b5",
  text: "#1b2130",
  textQuiet: "#5b6577",
  barTrack: "#e6e8ee",
  barFill: "#6f7f9e",
  barFull: "#b4530a",
  focus: "#2f54d1",
  bad: "#c02a37",
  warn: "#a35a00",
  good: "#0f766e",
  badInk: "#ffffff",
  appInk: "#ffffff",
  appFills: [
    "#3a5fc8",
    "#0e7490",
    "#7a4fc0",
    "#a8560a",
    "#b03a78",
    "#5d6b12",
    "#4b5a75",
    "#0b7a68",
    "#8a5a2e",
    "#9a45a8",
  ],
};

export const DARK_MAP: MapTheme = {
  box: "#181d27",
  boxEdge: "#303847",
  boxHover: "#5b677e",
  text: "#e6eaf2",
  textQuiet: "#9aa5b8",
  barTrack: "#2a3241",
  barFill: "#7f90b2",
  barFull: "#f0a04b",
  focus: "#8fabff",
  bad: "#ff7a80",
  warn: "#f0a04b",
  good: "#4fd1c0",
  badInk: "#1c0c0e",
  appInk: "#0e1219",
  appFills: [
    "#8fabff",
    "#5cc4dd",
    "#bda0f5",
    "#eea763",
    "#f093bf",
    "#bccb5e",
    "#a9b6cc",
    "#5fd0b8",
    "#d6aa7c",
    "#dd9be8",
  ],
};
