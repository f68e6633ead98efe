import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { findProgram, mustRun, runCommand } from "./run-command.ts";

function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}

test("runCommand() hands input in, output and exit code out", async () => {
  expect((await runCommand(["cat"], { stdin: "hello" })).stdout).toBe("hello");
  expect((await runCommand(["cat"], { stdinFile: "/proc/sys/kernel/ostype" })).stdout).toBe("Linux\n");
  expect((await runCommand(["false"])).code).toBe(1);
  // Does not read what it gets: the broken pipe is not an error of ours.
  expect((await runCommand(["true"], { stdin: "x".repeat(1_000_000) })).code).toBe(0);
});

test("runCommand() ends a program that takes too long, and says when there is none of that name", async () => {
  const late = await failureOf(runCommand(["sleep", "60"], { timeoutMs: 50 }));
  expect(late).toBeInstanceOf(AppError);
  expect(String(late)).toContain("not done after 50 ms");
  expect(String(await failureOf(runCommand(["/no/such/program"])))).toContain("Cannot run");
});

test("runCommand() does not wait for what a program left running", async () => {
  const { stdout, code } = await runCommand(["sh", "-c", "echo started; sleep 5 & exit 0"], { timeoutMs: 4000 });
  expect([stdout, code]).toEqual(["started\n", 0]);
});

test("mustRun() says what the program said", async () => {
  const failure = await failureOf(mustRun(["ls", "/no/such/folder"]));
  expect(String(failure)).toContain("No such file or directory");
});

test("findProgram() looks in PATH", () => {
  expect(findProgram("ls")).toMatch(/\/ls$/);
  expect(() => findProgram("no-such-program")).toThrow("Cannot find the program");
});
