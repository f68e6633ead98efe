import { expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { LinuxProcessWatcher } from "./linux-process-watcher.ts";

/** Part of every control group's path. */
const ANY = ":/";

interface Noted {
  readonly said: readonly string[];
  readonly log: { debug: (message: string) => void };
}

function notes(): Noted {
  const said: string[] = [];
  return { said, log: { debug: (message) => void said.push(message) } };
}

/** A process that is no child of this one. */
async function startStranger(): Promise<number> {
  const shell = Bun.spawn(["sh", "-c", "sleep 1000 >&- 2>&- & echo $!"], { stdout: "pipe" });
  return Number(await new Response(shell.stdout).text());
}

function pidfds(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("pidfd");
    } catch {
      return false;
    }
  }).length;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await Bun.sleep(1);
}

test("watch() tells of the end of a stranger's process, once, and holds nothing afterwards", async () => {
  const { said, log } = notes();
  const watcher = new LinuxProcessWatcher({ log });
  const before = pidfds();
  const pid = await startStranger();
  let ends = 0;
  expect(watcher.watch(pid, ANY, () => (ends += 1))).not.toBeNull();
  await Bun.sleep(0);
  expect(ends).toBe(0);
  expect(pidfds()).toBeGreaterThanOrEqual(before + 2);
  process.kill(pid, "SIGKILL");
  await until(() => ends > 0);
  await until(() => pidfds() <= before);
  expect([ends, said]).toEqual([1, []]);
});

test("watch() tells of each of many that end in one moment", async () => {
  const watcher = new LinuxProcessWatcher(notes());
  const pids = await Promise.all(Array.from({ length: 20 }, startStranger));
  const ended = new Set<number>();
  for (const pid of pids) expect(watcher.watch(pid, ANY, () => ended.add(pid))).not.toBeNull();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await until(() => ended.size === pids.length);
  expect(ended).toEqual(new Set(pids));
});

test("watch() of a process that nobody has, or of another group, is none", async () => {
  const watcher = new LinuxProcessWatcher(notes());
  const before = pidfds();
  const pid = await startStranger();
  let ends = 0;
  expect(watcher.watch(pid, "0123456789abcdef-no-such-group", () => (ends += 1))).toBeNull();
  process.kill(pid, "SIGKILL");
  // A zombie, or gone: whoever is init of this machine decides.
  await until(() => {
    const stop = watcher.watch(pid, ANY, () => undefined);
    stop?.();
    return stop === null;
  });
  await until(() => pidfds() <= before);
  expect(ends).toBe(0);
});

test("a watch that was ended says nothing, also when it never came to wait", async () => {
  const watcher = new LinuxProcessWatcher(notes());
  const before = pidfds();
  const pid = await startStranger();
  let ends = 0;
  const atOnce = watcher.watch(pid, ANY, () => (ends += 1));
  atOnce?.();
  const later = watcher.watch(pid, ANY, () => (ends += 1));
  await Bun.sleep(0);
  later?.();
  let last = 0;
  watcher.watch(pid, ANY, () => (last += 1));
  process.kill(pid, "SIGKILL");
  await until(() => last === 1);
  await until(() => pidfds() <= before);
  expect(ends).toBe(0);
});
