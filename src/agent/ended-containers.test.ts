import { expect, test } from "bun:test";
import { containerOf } from "../model/container.fixture.ts";
import type { Container } from "../model/container.ts";
import { FakeProcessWatcher } from "../sim/fake-process-watcher.ts";
import { EndedContainers } from "./ended-containers.ts";

interface World {
  readonly processes: FakeProcessWatcher;
  readonly ended: EndedContainers;
  readonly news: () => number;
}

function setUp(...pids: readonly number[]): World {
  const processes = new FakeProcessWatcher();
  let news = 0;
  const ended = new EndedContainers(processes, () => (news += 1));
  for (const pid of pids) processes.start(pid, `/docker/c${pid}`);
  return { processes, ended, news: () => news };
}

function running(pid: number | null, { id = `c${pid}`, startedAtMs = 1 } = {}): Container {
  return containerOf({ id, pid, startedAtMs, name: id });
}

test("EndedContainers has a container from the end of its process on, until it is started again", () => {
  const { processes, ended, news } = setUp(7);
  ended.follow([running(7)]);
  expect([ended.has(running(7)), news()]).toEqual([false, 0]);
  processes.end(7);
  expect([ended.has(running(7)), news()]).toEqual([true, 1]);
  // The engine has not noticed yet.
  ended.follow([running(7)]);
  expect(ended.has(running(7))).toBe(true);
  processes.start(8, "/docker/c7");
  const again = running(8, { id: "c7", startedAtMs: 2 });
  expect(ended.has(again)).toBe(false);
  ended.follow([again]);
  expect([ended.has(again), processes.watched()]).toEqual([false, [8]]);
});

test("EndedContainers tells two lives apart by their start, where both have the same process number", () => {
  const { processes, ended } = setUp(7);
  ended.follow([running(7)]);
  processes.end(7);
  processes.start(7, "/docker/c7");
  const again = running(7, { startedAtMs: 2 });
  ended.follow([again]);
  expect([ended.has(again), processes.watched()]).toEqual([false, [7]]);
});

test("EndedContainers says nothing of what the engine has told old things of", () => {
  const { processes, ended, news } = setUp(7);
  ended.follow([running(7)]);
  processes.end(7);
  ended.forget("c7");
  // A description from before the end: its process is gone, and nobody knows of a death.
  ended.follow([running(7)]);
  expect([ended.has(running(7)), news(), processes.watched()]).toEqual([false, 1, []]);
});

test("EndedContainers tries again what could not be watched, and leaves what has no process or is another's", () => {
  const { processes, ended } = setUp(9);
  ended.follow([running(7), running(null), running(9, { id: "somebody-else" })]);
  expect(processes.watched()).toEqual([]);
  processes.start(7, "/docker/c7");
  ended.follow([running(7)]);
  expect(processes.watched()).toEqual([7]);
});

test("EndedContainers lets go of what is not there any more, and of all at its end", () => {
  const { processes, ended, news } = setUp(7, 8, 9);
  ended.follow([running(7), running(8), running(9)]);
  ended.follow([running(8), running(9)]);
  expect(processes.watched()).toEqual([8, 9]);
  ended.close();
  processes.end(8);
  expect([processes.watched(), news()]).toEqual([[], 0]);
});
