import { expect, test } from "bun:test";
import { AppError } from "../../model/error.ts";
import { ProcessRunner } from "./process-runner.ts";

const runner = new ProcessRunner();

async function failure(running: Promise<unknown>): Promise<AppError> {
  const error: unknown = await running.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`Expected an AppError, got ${String(error)}`);
  return error;
}

test("run() passes argv and input as they are and returns both outputs", async () => {
  const result = await runner.run(["cat", "-", "/dev/null"], { stdin: "a $(b) 'c'\n" });
  expect(result).toEqual({ code: 0, stdout: "a $(b) 'c'\n", stderr: "" });
  expect((await runner.run(["printf", "%s", "$HOME; ls"])).stdout).toBe("$HOME; ls");
});

test("run() sets the C locale, also against the caller's", async () => {
  expect((await runner.run(["printenv", "LC_ALL"], { env: { LC_ALL: "de_DE.UTF-8" } })).stdout).toBe("C\n");
  expect((await runner.run(["printenv", "APOLLO_TEST"], { env: { APOLLO_TEST: "x" } })).stdout).toBe("x\n");
});

test("run() throws argv and stderr for an exit code that was not expected", async () => {
  const error = await failure(runner.run(["ls", "/nowhere"]));
  expect(error.code).toBe("unavailable");
  expect(error.message).toBe(`Cannot run "ls /nowhere": ls: cannot access '/nowhere': No such file or directory`);
  expect(error.details).toMatchObject({ argv: ["ls", "/nowhere"], exitCode: 2 });
  expect((await runner.run(["ls", "/nowhere"], { okCodes: [0, 2] })).code).toBe(2);
});

test("run() ends what takes too long and says so", async () => {
  const error = await failure(runner.run(["sleep", "60"], { timeoutMs: 50 }));
  expect(error.message).toBe('Cannot run "sleep 60": no end within 50 ms');
});

test("run() names a program that is not there", async () => {
  const error = await failure(runner.run(["apollo-no-such-program", "x"]));
  expect(error.message).toContain('Cannot run "apollo-no-such-program"');
  expect(error.hint).toBe("Install the program: apollo-no-such-program");
});

test("run() puts the prefix in front of everything", async () => {
  const prefixed = new ProcessRunner({ prefix: ["env", "APOLLO_TEST=y"] });
  expect((await prefixed.run(["printenv", "APOLLO_TEST"])).stdout).toBe("y\n");
});

test("follow() gives whole lines until the program ends", async () => {
  const lines: string[] = [];
  const code = await runner.follow(["seq", "1", "3"], (line) => lines.push(line), new AbortController().signal);
  expect([code, ...lines]).toEqual([0, "1", "2", "3"]);
});

test("follow() ends the program on abort", async () => {
  const stop = new AbortController();
  const code = await runner.follow(["yes"], () => stop.abort(), stop.signal);
  expect(code).toBeNull();
  expect(await runner.follow(["yes"], () => {}, stop.signal)).toBeNull();
});

test("neither waits for a grandchild that holds the pipes", async () => {
  // Killed at once, timeout cannot pass the signal on to its own child. Waiting for both would outlast the test's time.
  const hold = ["timeout", "9", "sleep", "4"];
  const stop = new AbortController();
  const followed = runner.follow(hold, () => {}, stop.signal);
  stop.abort();
  expect(await followed).toBeNull();
  expect((await failure(runner.run(hold, { timeoutMs: 50 }))).message).toContain("no end within 50 ms");
});
