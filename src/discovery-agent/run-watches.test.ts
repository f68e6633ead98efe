import { expect, test } from "bun:test";
import { eventIndex } from "../discovery/registry/user-events.ts";
import { AppError } from "../model/error.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { parseWatch } from "./parse-watch.ts";
import { runWatches, type WatchAnswer } from "./run-watches.ts";

const SCRIPT = { handler_type: "script", args: ["/bin/handler", "-v"] };
const nothing = (): void => undefined;
const quiet = { debug: nothing, info: nothing, warn: nothing, error: nothing };

test.each([
  [{ type: "key", key: "a/b c" }, "kv/a/b%20c"],
  [{ type: "keyprefix", prefix: "a/" }, "kv/a/?recurse="],
  [{ type: "services" }, "catalog/services"],
  [{ type: "nodes", datacenter: "dc2" }, "catalog/nodes?dc=dc2"],
  [{ type: "service", service: "web", tag: ["a", "b"], passingonly: true }, "health/service/web?tag=a&tag=b&passing=1"],
  [{ type: "checks" }, "health/state/any"],
  [{ type: "checks", service: "web" }, "health/checks/web"],
  [{ type: "event", name: "deploy" }, "event/list?name=deploy"],
])("parseWatch(%j) asks %s", (definition, target) => {
  expect(parseWatch({ ...definition, ...SCRIPT })).toMatchObject({
    target,
    handler: { kind: "script", argv: ["/bin/handler", "-v"] },
  });
});

test.each([
  [{ type: "key", ...SCRIPT }, 'needs "key"'],
  [{ type: "nothing", ...SCRIPT }, "type"],
  [{ type: "nodes" }, 'needs "args"'],
  [{ type: "nodes", handler_type: "http" }, 'needs "http_handler_config"'],
  [{ type: "nodes", handler_type: "http", http_handler_config: { path: "file:///x" } }, "path"],
  [
    { type: "nodes", handler_type: "http", http_handler_config: { path: "http://h/", timeout: "x" } },
    'its timeout "x" is no duration',
  ],
  [{ type: "checks", service: "a", state: "b", ...SCRIPT }, "both service and state"],
  [{ type: "nodes", handler: "sh", ...SCRIPT }, "handler"],
])("parseWatch(%j) is refused: %s", (definition, message) => {
  expect(() => parseWatch(definition)).toThrow(message);
});

/** Gives these answers in turn, and writes down what is asked and what the handler gets. */
async function follow(definition: object, answers: readonly (WatchAnswer | AppError)[]): Promise<readonly string[]> {
  const clock = new VirtualClock();
  const end = new AbortController();
  const told: string[] = [];
  let asked = 0;
  const running = runWatches(
    [parseWatch({ ...definition, ...SCRIPT })],
    {
      ask: (target) => {
        told.push(`? ${target}`);
        const answer = answers[asked];
        asked += 1;
        if (answer === undefined) end.abort();
        if (answer === undefined || answer instanceof AppError)
          return Promise.reject(answer ?? new AppError("unavailable", "no more"));
        return Promise.resolve(answer);
      },
      call: (_handler, body, index) => {
        told.push(`! ${index} ${body}`);
        return Promise.resolve();
      },
      clock,
      log: quiet,
    },
    end.signal,
  );
  await clock.settle(running);
  return told;
}

test("a key: no call before it is there, one for each change, null when it goes", async () => {
  const gone = { status: 404, text: "", index: "4" };
  const one = { status: 200, text: '[{"Key":"a","Flags":18446744073709551615}]', index: "5" };
  const told = await follow({ type: "key", key: "a" }, [
    gone,
    one,
    { ...one, index: "6" },
    new AppError("unavailable", "away"),
    { ...gone, index: "7" },
    { ...gone, index: "2" },
  ]);
  expect(told).toEqual([
    "? kv/a",
    "? kv/a?index=4&wait=5m",
    '! 5 {"Key":"a","Flags":18446744073709551615}',
    "? kv/a?index=5&wait=5m",
    "? kv/a?index=6&wait=5m",
    "? kv/a?index=6&wait=5m",
    "! 7 null",
    "? kv/a?index=7&wait=5m",
    // A lower index is another server's.
    "? kv/a",
  ]);
});

test("events: the handler gets those that it has not seen", async () => {
  const ids = [1, 2, 3].map((n) => `0000000${n}-0000-4000-8000-000000000000`);
  const list = (...which: readonly number[]): string => JSON.stringify(which.map((n) => ({ ID: ids[n] })));
  const index = (n: number): string => String(eventIndex(ids[n] ?? ""));
  const told = await follow({ type: "event", name: "e" }, [
    { status: 200, text: "[]", index: "1" },
    { status: 200, text: list(0), index: index(0) },
    { status: 200, text: list(0, 1, 2), index: index(2) },
  ]);
  expect(told.filter((line) => line.startsWith("!"))).toEqual([
    `! ${index(0)} ${list(0)}`,
    `! ${index(2)} ${list(1, 2)}`,
  ]);
});
