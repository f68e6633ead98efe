import { expect, test } from "bun:test";
import { AppError, describeError } from "../model/error.ts";
import { parseLabArgv, runLab } from "./lab-command.ts";

const signal = new AbortController().signal;

test("parseLabArgv() leaves the command line of exec alone", () => {
  const table: readonly (readonly [string, string, string])[] = [
    ["exec h1 -- docker ps --all", "exec h1", "docker ps --all"],
    ["exec h1 docker ps --all", "exec h1", "docker ps --all"],
    ["--lab a exec h1 ls --json", "exec h1", "ls --json"],
    ["exec --lab a h1 -- sh -c x -- y", "exec h1", "sh -c x -- y"],
    ["exec h1", "exec h1", ""],
    ["stop h1 --lab a", "stop h1", ""],
    ["cut h1 h3 --one-way", "cut h1 h3", ""],
  ];
  for (const [line, words, argv] of table) {
    const parsed = parseLabArgv(line.split(" "));
    expect([parsed.words.join(" "), parsed.argv.join(" ")]).toEqual([words, argv]);
  }
  expect(parseLabArgv(["exec", "h1", "--json"]).options.json).toBeUndefined();
  expect(parseLabArgv(["exec", "h1"]).argv).toEqual([]);
  expect(parseLabArgv(["stop", "h1", "--lab", "a"]).options.lab).toBe("a");
});

test("parseLabArgv() refuses unknown options", () => {
  expect(() => parseLabArgv(["up", "--host", "3"])).toThrow(AppError);
});

test("runLab() explains itself and refuses what it does not know", async () => {
  const lines: string[] = [];
  expect(await runLab(["--help"], signal, (line) => lines.push(line))).toBe(0);
  expect(await runLab([], signal, (line) => lines.push(line))).toBe(2);
  expect(lines.join("")).toContain("apollo lab exec h1 -- docker ps");
  expect(await runLab(["constructor"], signal).then(String, describeError)).toContain("the commands are up, down");
  expect(await runLab(["cut", "h1"], signal).then(String, describeError)).toContain("B is missing");
  expect(await runLab(["up", "--engines-only", "--hosts", "many"], signal).then(String, describeError)).toContain(
    "NaN hosts",
  );
});

test("runLab() takes an empty name for a mistake, and not for the only lab there is", async () => {
  for (const argv of [
    ["down", ""],
    ["down", "--lab", ""],
    ["exec", "--lab", "", "h1", "--", "true"],
    ["stop", "h1", "--lab="],
  ]) {
    expect(await runLab(argv, signal).then(String, describeError)).toContain('Cannot use lab name ""');
  }
});
