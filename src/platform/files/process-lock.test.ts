import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { claimLock } from "./process-lock.ts";

const dir = mkdtempSync(join(tmpdir(), "apollo-lock-"));
const path = join(dir, "lock");
afterAll(() => rmSync(dir, { recursive: true }));

test("claimLock() is held by a process that lives, and by none that is gone", () => {
  const parent = process.ppid;
  const stat = readFileSync(`/proc/${parent}/stat`, "utf8");
  const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  writeFileSync(path, `${parent} ${ticks}`);
  expect(claimLock(path)).toEqual({ kind: "held", pid: parent });
  // The same number, of a process that started at another time.
  writeFileSync(path, `${parent} ${Number(ticks) + 1}`);
  const lock = claimLock(path);
  expect(lock.kind).toBe("claimed");
  if (lock.kind === "claimed") lock.release();
  expect(existsSync(path)).toBe(false);
});

test("claimLock() takes a file that says nothing, and releases only its own", () => {
  writeFileSync(path, "garbage");
  const lock = claimLock(path);
  if (lock.kind !== "claimed") throw new Error("a void file holds nothing");
  writeFileSync(path, "1 1");
  lock.release();
  expect(readFileSync(path, "utf8")).toBe("1 1");
});
