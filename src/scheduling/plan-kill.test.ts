import { expect, test } from "bun:test";
import type { InstanceId } from "../model/ids.ts";
import { planKill } from "./plan-kill.ts";
import { SampleCluster, sampleSpec } from "./sample-cluster.ts";

test("planKill() drains what runs, stops what does not, and skips the unknown and the leaving", () => {
  const cluster = new SampleCluster(3);
  cluster.put(sampleSpec("/web", { instances: 3 }));
  cluster.pass();
  const [a, b, c] = cluster.active();
  if (a === undefined || b === undefined || c === undefined) throw new Error("three are there");
  cluster.run(a.id);
  cluster.statuses.set(b.id, { phase: "staging", step: "creating", sinceMs: 0 });
  cluster.instances.set(c.id, { ...c, goal: "stopped" });
  const ids = [c.id, b.id, a.id, a.id, "none" as InstanceId];
  const { killed, actions, scaling } = planKill({ ...cluster, ids });
  expect(killed.map(({ id }) => id)).toEqual([a.id, b.id]);
  expect(actions).toMatchObject([
    { kind: "drain-instance", id: a.id },
    { kind: "stop-instance", id: b.id },
  ]);
  expect(scaling).toEqual([{ kind: "scale", id: a.appId, instances: 1 }]);
});
