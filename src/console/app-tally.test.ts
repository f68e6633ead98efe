import { expect, test } from "bun:test";
import type { InstanceJson } from "../api/native/shapes.ts";
import { FakeCluster } from "../../test/console/fake-cluster.ts";
import { instanceState, tallyApp } from "./app-tally.ts";
import { formatTally } from "./health-bar.tsx";

const cluster = new FakeCluster({ hosts: 1, apps: [{ id: "/web", instances: 4 }] });
const all = [...cluster.instances.values()];
const [sample] = all;
const app = cluster.apps.get("/web");
if (sample === undefined || app === undefined) throw new Error("The fake cluster is empty");

test("instanceState() names each state once", () => {
  const table: readonly (readonly [Partial<InstanceJson>, string])[] = [
    [{}, "ready"],
    [{ health: "none" }, "ready"],
    [{ health: "unhealthy" }, "unhealthy"],
    [{ health: "unknown" }, "starting"],
    [{ phase: "staging" }, "starting"],
    [{ phase: "assigned" }, "starting"],
    [{ goal: "draining" }, "leaving"],
    [{ goal: "stopped", phase: "stopping" }, "leaving"],
    [{ phase: "failed" }, "failed"],
    [{ phase: "gone" }, "failed"],
    [{ phase: "lost" }, "lost"],
  ];
  for (const [change, state] of table) expect(instanceState({ ...sample, ...change })).toBe(state as never);
});

test("tallyApp() and formatTally() count what is ready and name the rest", () => {
  const text = (changes: readonly Partial<InstanceJson>[], wanted = 4): string =>
    formatTally(
      tallyApp(
        { ...app, instances: wanted },
        changes.map((change) => ({ ...sample, ...change })),
      ),
    );
  expect(text([{}, {}, {}, {}])).toBe("4 of 4 healthy");
  expect(text([{}, { health: "unhealthy" }, { phase: "staging" }])).toBe(
    "1 of 4 healthy · 1 unhealthy, 1 starting, 1 waiting",
  );
  expect(text([{ health: "none" }, { health: "none" }], 2)).toBe("2 of 2 running");
  expect(text([{}, {}, { goal: "draining" }], 2)).toBe("2 of 2 healthy · 1 stopping");
  expect(text([{}, { phase: "failed" }], 2)).toBe("1 of 2 healthy · 1 failed");
  expect(text([{}, { phase: "lost" }], 2)).toBe("1 of 2 healthy · 1 lost");
  expect(text([{}, {}, { phase: "lost" }], 2)).toBe("2 of 2 healthy · 1 lost");
  expect(text([], 3)).toBe("0 of 3 healthy · 3 waiting");
  expect(text([], 0)).toBe("suspended");
});
