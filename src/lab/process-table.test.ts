import { expect, test } from "bun:test";
import { isAlive, parseEnviron, parseIsInit, parseStartTicks, processRef } from "./process-table.ts";

test("parseStartTicks() reads field 22 whatever the process is called", () => {
  const rest = `S 1 2 3 ${Array.from({ length: 15 }, (_, index) => index).join(" ")} 4711 99`;
  expect(parseStartTicks(`7 (sleep) ${rest}`)).toBe(4711);
  expect(parseStartTicks(`7 (a) b (c d) ${rest}`)).toBe(4711);
  expect(parseStartTicks("")).toBeNull();
  expect(parseStartTicks("7 (x) S 1")).toBeNull();
});

test("parseIsInit() tells process 1 of a namespace from the machine's processes", () => {
  const table: readonly (readonly [string, boolean])[] = [
    ["Name:\ttini\nNSpid:\t420\t1\n", true],
    ["NSpid:\t420\t17\t1\n", true],
    ["NSpid:\t420\t12\n", false],
    ["NSpid:\t1\n", false],
    ["Name:\tx\n", false],
  ];
  for (const [status, expected] of table) expect(parseIsInit(status)).toBe(expected);
});

test("parseEnviron() splits at the first equals sign", () => {
  expect(parseEnviron("A=1\0B=x=y\0=odd\0C=\0")).toEqual({ A: "1", B: "x=y", C: "" });
});

test("isAlive() does not take a later process with the same number for the one that was meant", () => {
  const self = processRef(process.pid);
  if (self === null) throw new Error("This process is not in /proc");
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ ...self, startTicks: self.startTicks - 1 })).toBe(false);
});
