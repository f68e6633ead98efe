import { expect, test } from "bun:test";
import { CommanderError } from "commander";
import fc from "fast-check";
import { AppError, EXIT_CODE } from "../model/error.ts";
import { EXIT_CODE_TABLE } from "./exit-codes.ts";
import { formatFailure, Interrupted } from "./format-error.ts";
import { displayWidth, formatFields, formatTable, oneLine } from "./format-table.ts";
import { formatAgo, formatDuration, formatIn } from "./format-time.ts";
import { createProgressLine } from "./progress-line.ts";
import { type Paint, paintFor } from "./style.ts";
import { formatSuggestion, suggestNames } from "./suggest-name.ts";
import { wantsColor } from "./terminal.ts";
import { createTestTerminal } from "./test-cli.fixture.ts";

const PLAIN: Paint = (_, text) => text;
const COLOR = paintFor({ color: true });

test("formatTable() aligns columns, figures to the right, whatever the colours", () => {
  const columns = [
    { title: "APP", value: (row: readonly [string, string]) => row[0] },
    { title: "N", value: (row: readonly [string, string]) => row[1], align: "right" as const },
  ];
  const text = formatTable(columns, [
    [COLOR("bold", "web"), "10"],
    ["worker", "2"],
  ]);
  expect(text.replaceAll(/\u001b\[[0-9;]*m/g, "")).toBe("APP      N\nweb     10\nworker   2\n");
});

test("formatTable() keeps a message of a container to its cell", () => {
  const columns = [{ title: "MESSAGE", value: (row: string) => row }];
  expect(formatTable(columns, ["a\n  b\u001b[2Jc\u0007"])).toBe("MESSAGE\na b?[2Jc?\n");
});

test("oneLine() leaves no control character but those of colour", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      // eslint-disable-next-line no-control-regex
      expect(oneLine(text).replaceAll(/\u001b\[[0-9;]*m/g, "")).not.toMatch(/[\u0000-\u001f]/);
    }),
  );
  expect(displayWidth(COLOR("red", "four"))).toBe(4);
});

test("formatFields() leaves out what is empty", () => {
  expect(
    formatFields([
      ["A", "1"],
      ["Long", ""],
      ["Other", "2"],
    ]),
  ).toBe("A:     1\nOther: 2\n");
});

const DURATIONS: readonly (readonly [number, string])[] = [
  [0, "0 ms"],
  [850, "850 ms"],
  [3240, "3.2 s"],
  [59_999, "59s"],
  [125_000, "2m 5s"],
  [3_600_000, "1h"],
  [90_061_000, "1d 1h"],
];
for (const [ms, text] of DURATIONS) {
  test(`formatDuration() writes ${ms} ms as "${text}"`, () => expect(formatDuration(ms)).toBe(text));
}

test("formatAgo() and formatIn() are relative to now, and forgive clocks that differ", () => {
  expect(formatAgo(null, 0)).toBe("-");
  expect(formatAgo(5000, 4000)).toBe("now");
  expect(formatAgo(0, 4500)).toBe("4s ago");
  expect(formatAgo(0, 3_725_000)).toBe("1h 2m ago");
  expect(formatIn(1000, 2000)).toBe("now");
  expect(formatIn(12_300, 0)).toBe("in 13s");
});

test("suggestNames() finds slips and parts, best first, and nothing for something else", () => {
  const known = ["nodejs-rest-api", "nodejs-rest-api-v2", "shop/web", "shop/db"];
  expect(suggestNames("nodejs-rest-ap", known)).toEqual(["nodejs-rest-api", "nodejs-rest-api-v2"]);
  expect(suggestNames("shop/wbe", known)).toEqual(["shop/web", "shop/db"]);
  expect(suggestNames("web", known)).toEqual(["shop/web"]);
  expect(formatSuggestion("zzz", known)).toBeNull();
  expect(formatSuggestion("shop", known)).toBe('Did you mean "shop/db" or "shop/web"?');
});

test("wantsColor() is for terminals without NO_COLOR", () => {
  expect(wantsColor(true, {})).toBe(true);
  expect(wantsColor(false, {})).toBe(false);
  expect(wantsColor(true, { NO_COLOR: "1" })).toBe(false);
  expect(wantsColor(true, { NO_COLOR: "" })).toBe(true);
  expect(wantsColor(true, { TERM: "dumb" })).toBe(false);
});

test("formatFailure() gives message, fields and hint, and the code of the table", () => {
  const error = new AppError("invalid", 'Cannot create app "web": it is not valid', {
    fields: [{ path: "/cpus", message: "must be a number" }],
    hint: "Correct the file",
  });
  expect(formatFailure(error, PLAIN)).toEqual({
    exitCode: 2,
    text: 'Error: Cannot create app "web": it is not valid\n  /cpus: must be a number\nHint: Correct the file\n',
  });
});

test("formatFailure() tells usage errors, Ctrl-C and faults of Apollo apart", () => {
  const usage = new CommanderError(1, "commander.unknownCommand", "error: unknown command 'lst'\n(Did you mean list?)");
  expect(formatFailure(usage, PLAIN, "apollo app --help")).toEqual({
    exitCode: 2,
    text: "Error: unknown command 'lst'\nHint: Did you mean list? Or see \"apollo app --help\"\n",
  });
  expect(formatFailure(new CommanderError(0, "commander.helpDisplayed", "(outputHelp)"), PLAIN).exitCode).toBe(0);
  expect(formatFailure(new Interrupted("Stopped"), PLAIN)).toEqual({ exitCode: 130, text: "Stopped\n" });
  const fault = formatFailure(new TypeError("x is not a function"), PLAIN);
  expect(fault.exitCode).toBe(1);
  expect(fault.text).toContain("please report this");
});

test("EXIT_CODE_TABLE has every code once", () => {
  const codes = EXIT_CODE_TABLE.map((row) => row.code);
  expect(new Set(codes).size).toBe(codes.length);
  for (const code of Object.values(EXIT_CODE)) expect(codes).toContain(code);
});

test("createProgressLine() rewrites one line on a terminal, and writes each change once elsewhere", () => {
  const terminal = createTestTerminal({ isTty: true, columns: 6 });
  const line = createProgressLine(terminal);
  line.update("abc");
  line.update("abcdefgh");
  line.clear();
  line.clear();
  expect(terminal.text()).toBe("\r\u001b[2Kabc\r\u001b[2Kabcd…\r\u001b[2K");
  const pipe = createTestTerminal();
  const plain = createProgressLine(pipe);
  for (const text of ["a", "a", "b"]) plain.update(text);
  plain.clear();
  expect(pipe.text()).toBe("a\nb\n");
});
