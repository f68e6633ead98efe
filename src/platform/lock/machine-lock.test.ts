import { expect, test } from "bun:test";
import { AppError } from "../../model/error.ts";
import { lockMachine } from "./machine-lock.ts";

test("lockMachine() lets one in, names it to the next, and lets that in when the first is gone", async () => {
  const name = `test-${crypto.randomUUID()}`;
  const first = await lockMachine(name, "agent 4711 with data in /var/lib/one");
  const refusal = await lockMachine(name, "the second").catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(AppError);
  expect(refusal).toMatchObject({ code: "conflict", message: expect.stringContaining("agent 4711 with data in /var/lib/one") });
  first.release();
  const second = await lockMachine(name, "the second");
  second.release();
});

test("lockMachine() is released by the kernel when its process is killed", async () => {
  const name = `test-${crypto.randomUUID()}`;
  const code = `const { lockMachine } = await import(${JSON.stringify(`${import.meta.dir}/machine-lock.ts`)});
    await lockMachine(${JSON.stringify(name)}, "child " + process.pid); console.log("locked"); setInterval(() => 0, 1000);`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe", stderr: "inherit" });
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toContain("locked");
  const refusal = await lockMachine(name, "parent").catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "conflict", message: expect.stringContaining(`child ${child.pid} runs`) });
  child.kill("SIGKILL");
  await child.exited;
  const lock = await lockMachine(name, "parent");
  lock.release();
});
