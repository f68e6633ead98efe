import { expect, test } from "bun:test";
import { FakeCluster } from "../../test/console/fake-cluster.ts";
import { FeedStore } from "./feed-store.ts";
import { listProblems } from "./list-problems.ts";

test("listProblems() is empty when all is well, and puts errors first", () => {
  const cluster = new FakeCluster({
    hosts: 2,
    apps: [
      { id: "/db", instances: 1 },
      { id: "/web", instances: 2 },
    ],
  });
  const store = new FeedStore();
  store.apply(cluster.snapshot());
  expect(listProblems(store.view(), 0)).toEqual([]);

  cluster.subscribe((message) => store.apply(message));
  const [first] = cluster.instances.values();
  const host = cluster.hosts.get("h2");
  const web = cluster.apps.get("/web");
  if (first === undefined || host === undefined || web === undefined) throw new Error("The fake cluster is empty");
  cluster.update({ ...first, health: "unhealthy" });
  cluster.updateApp({ ...web, problem: "no host has enough memory" });
  cluster.updateHost({ ...host, phase: "down", lastSeenMs: 10_000 });
  const problems = listProblems(store.view(), 25_000);
  expect(problems.map((problem) => problem.text)).toEqual([
    "Host h2 is down, not heard of for 15 s",
    "web: no host has enough memory",
    "db: 1 instance fails its checks",
  ]);
  expect(problems.every((problem) => problem.hint !== null)).toBe(true);
});
