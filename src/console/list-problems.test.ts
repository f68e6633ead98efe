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
  cluster.updateApp({ ...web, problem: 'Cannot place 1 instance of "/web": of 2 hosts, 2 short of memory' });
  cluster.updateHost({ ...host, phase: "down", lastSeenMs: 10_000 });
  const problems = listProblems(store.view(), 25_000);
  expect(problems.map(({ severity, title, text }) => [severity, title, text])).toEqual([
    ["error", "Host h2", "Down: not heard of for 15 s"],
    ["error", "db", "1 instance fails its health checks"],
    ["error", "web", "Cannot place 1 instance: of 2 hosts, 2 short of memory"],
  ]);
  cluster.updateApp({ ...web, problem: null });
  const [sick] = cluster.instances.values().filter((item) => item.app === "/web");
  if (sick === undefined) throw new Error("The fake cluster has no /web");
  cluster.update({ ...sick, health: "unhealthy" });
  // One of two still answers.
  expect(listProblems(store.view(), 0).at(-1)).toMatchObject({ severity: "warning", title: "web" });
});
