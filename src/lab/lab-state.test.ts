import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import { parseLabState } from "./lab-state.ts";
import type { LabState } from "./lab-state.ts";

const STATE: LabState = {
  name: "demo",
  hosts: 2,
  parts: "engines",
  phase: "up",
  createdAtMs: 1,
  owner: { pid: 10, startTicks: 20 },
  run: null,
  engineConfig: { bridge: "apollo0" },
  processes: { fabric: { pid: 11, startTicks: 21 } },
  forwards: [{ node: "s1", targetPort: 8443, localPort: 40000 }],
};

test("parseLabState() reads what was written", () => {
  expect(parseLabState(JSON.stringify(STATE))).toEqual(STATE);
});

test("parseLabState() refuses a process number that a signal would take for a group or for all", () => {
  for (const pid of [0, -1, 1.5, "7"]) {
    const text = JSON.stringify({ ...STATE, processes: { fabric: { pid, startTicks: 1 } } });
    expect(() => parseLabState(text)).toThrow(AppError);
  }
});

test("parseLabState() gives a state or an AppError for any text", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parseLabState(text);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});
