import { expect, test } from "bun:test";
import fc from "fast-check";
import type { AppSpec } from "../model/app.ts";
import { isReady } from "../model/instance.ts";
import { DRAIN_MS_MAX } from "./plan-app.ts";
import { REPLACE_AFTER_MS, planRollout } from "./plan-rollout.ts";
import { HTTP_CHECK, SampleCluster, sampleSpec } from "./sample-cluster.ts";

/** `web` with n instances, running and settled. */
function running(spec: AppSpec, cluster = new SampleCluster(3)): SampleCluster {
  cluster.put(spec);
  cluster.settle();
  cluster.nowMs += 60_000;
  return cluster;
}

const web = (change: Partial<AppSpec> = {}): AppSpec => sampleSpec("/web", { instances: 2, ...change });
const upgrade = (minimumHealthCapacity: number, maximumOverCapacity: number) => ({
  upgrade: { minimumHealthCapacity, maximumOverCapacity },
});
const kinds = (plan: { readonly actions: readonly { readonly kind: string }[] }): string[] =>
  plan.actions.map(({ kind }) => kind);

/** Ready and total instances after each pass of an upgrade of `web`, with the most total and the least ready of them. */
function roll(cluster: SampleCluster): { least: number; most: number; killedFirst: number } {
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  let killedFirst: number | null = null;
  cluster.settle((plan) => {
    killedFirst ??= plan.actions.filter(({ kind }) => kind === "drain-instance").length;
    const ready = cluster.active().filter(({ id }) => isReady(cluster.statuses.get(id))).length;
    least = Math.min(least, ready);
    most = Math.max(most, cluster.instances.size);
  });
  return { least, most, killedFirst: killedFirst ?? 0 };
}

test("planRollout() starts a new app, ends the deployment when it is ready, and then wants nothing", () => {
  const cluster = new SampleCluster(3);
  cluster.put(web({ healthChecks: [HTTP_CHECK] }));
  expect(kinds(cluster.pass())).toEqual(["advance-deployment", "create-instance", "create-instance"]);
  expect(cluster.spread()).toBe("1/1/0");
  for (const { id } of cluster.active()) cluster.run(id, "unknown");
  expect(cluster.pass().actions).toEqual([]);
  for (const { id } of cluster.active()) cluster.run(id, "healthy");
  expect(kinds(cluster.pass())).toEqual(["finish-deployment"]);
  expect(cluster.pass()).toEqual({ actions: [], problems: [], nextWakeMs: null });
});

test("planRollout() scales 2 to 4 over three hosts as 2/1/1, and down to one", () => {
  const cluster = running(web());
  cluster.change([{ kind: "scale", id: web().id, instances: 4 }]);
  cluster.settle();
  expect(cluster.spread()).toBe("2/1/1");
  cluster.change([{ kind: "scale", id: web().id, instances: 3 }]);
  cluster.pass();
  expect(cluster.spread()).toBe("1/1/1");
  cluster.settle();
  cluster.change([{ kind: "scale", id: web().id, instances: 1 }]);
  cluster.settle();
  expect(cluster.instances.size).toBe(1);
  expect(cluster.deployments.size).toBe(0);
});

test("planRollout() rolls within Marathon's limits", () => {
  const table = [
    { n: 10, m: 1, o: 1, least: 10, most: 20, killedFirst: 0 },
    { n: 10, m: 0.5, o: 0, least: 5, most: 10, killedFirst: 5 },
    { n: 10, m: 1, o: 0, least: 10, most: 11, killedFirst: 0 },
    { n: 2, m: 1, o: 0.1, least: 2, most: 3, killedFirst: 0 },
    { n: 4, m: 0, o: 0, least: 0, most: 4, killedFirst: 4 },
    { n: 1, m: 1, o: 1, least: 1, most: 2, killedFirst: 0 },
  ];
  for (const { n, m, o, ...expected } of table) {
    const cluster = running(web({ instances: n, ...upgrade(m, o) }));
    cluster.put(web({ instances: n, ...upgrade(m, o), image: "app:2" }));
    expect({ n, m, o, ...roll(cluster) }).toEqual({ n, m, o, ...expected });
    expect(cluster.active().length).toBe(n);
    expect(cluster.instances.size).toBe(n);
    expect(cluster.deployments.size).toBe(0);
  }
});

test("planRollout() ends at least as many as are too many when a new definition wants fewer", () => {
  const cluster = running(web({ instances: 6 }));
  cluster.put(web({ instances: 2, image: "app:2" }));
  const { least, killedFirst } = roll(cluster);
  expect(killedFirst).toBe(4);
  expect(least).toBe(2);
  expect(cluster.instances.size).toBe(2);
});

test("planRollout() lets one old instance go for each new one that is ready, unhealthy ones first", () => {
  const cluster = running(web({ instances: 3, healthChecks: [HTTP_CHECK], ...upgrade(1, 0) }));
  const [first, second, third] = cluster.active().map(({ id }) => id);
  if (first === undefined || second === undefined || third === undefined) throw new Error("three are there");
  cluster.run(second, "unhealthy");
  cluster.put(web({ instances: 3, healthChecks: [HTTP_CHECK], ...upgrade(1, 0), image: "app:2" }));
  const plan = cluster.pass();
  expect(plan.actions.filter(({ kind }) => kind === "drain-instance")).toMatchObject([{ id: second }]);
  expect(plan.actions.filter(({ kind }) => kind === "create-instance").length).toBe(1);
  // Ready ones stay: two of the three that are to be ready are left.
  expect(cluster.active().map(({ id }) => id)).toContain(first);
  expect(cluster.active().map(({ id }) => id)).toContain(third);
});

test("planRollout() rolls an app of which no instance is healthy", () => {
  const bad = { instances: 4, healthChecks: [HTTP_CHECK], ...upgrade(0.5, 0) };
  const cluster = running(web(bad));
  for (const { id } of cluster.active()) cluster.run(id, "unhealthy");
  cluster.put(web({ ...bad, image: "app:2" }));
  cluster.settle();
  expect(cluster.instances.size).toBe(4);
  expect(cluster.deployments.size).toBe(0);
});

test("planRollout() makes room on a full cluster by ending outdated instances that are not ready", () => {
  const big = { instances: 3, cpus: 3, healthChecks: [HTTP_CHECK], ...upgrade(1, 1) };
  const cluster = running(web(big));
  for (const { id } of cluster.active()) cluster.run(id, "unhealthy");
  cluster.put(web({ ...big, image: "app:2" }));
  cluster.settle();
  expect(cluster.deployments.size).toBe(0);
});

test("planRollout() drains: out of the catalog, then stopped when every host has applied that", () => {
  const cluster = running(web());
  cluster.appliedRevision = 0;
  cluster.change([{ kind: "scale", id: web().id, instances: 1 }]);
  expect(kinds(cluster.pass())).toEqual(["drain-instance"]);
  const waiting = cluster.pass();
  expect(waiting.actions).toEqual([]);
  expect(waiting.nextWakeMs).toBe(cluster.nowMs + DRAIN_MS_MAX);
  cluster.appliedRevision = 1;
  expect(kinds(cluster.pass())).toEqual(["stop-instance"]);
  cluster.obey();
  expect(kinds(cluster.pass())).toEqual(["forget-instance"]);
  expect(kinds(cluster.pass())).toEqual(["finish-deployment"]);
});

test("planRollout() waits 5 s at most for hosts that do not confirm a drain", () => {
  const cluster = running(web());
  cluster.appliedRevision = 0;
  cluster.change([{ kind: "scale", id: web().id, instances: 1 }]);
  cluster.pass();
  cluster.nowMs += DRAIN_MS_MAX - 1;
  expect(cluster.pass().actions).toEqual([]);
  cluster.nowMs += 1;
  expect(kinds(cluster.pass())).toEqual(["stop-instance"]);
});

test("planRollout() stops instances that never ran without draining", () => {
  const cluster = new SampleCluster(3);
  cluster.put(web());
  cluster.pass();
  for (const { id } of cluster.active()) {
    cluster.statuses.set(id, { phase: "staging", step: "pulling", sinceMs: cluster.nowMs });
  }
  cluster.change([{ kind: "destroy", id: web().id }], true);
  expect(kinds(cluster.pass())).toEqual(["stop-instance", "stop-instance"]);
});

test("planRollout() replaces a failed instance after the backoff, which grows and is forgotten", () => {
  const cluster = running(web({ instances: 1 }));
  const delays: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const [instance] = cluster.active();
    if (instance === undefined) throw new Error("one is there");
    cluster.fail(instance.id, "out of memory");
    const plan = cluster.pass();
    expect(kinds(plan)).toEqual(["forget-instance", "record-failure", "set-backoff"]);
    expect(plan.problems).toMatchObject([{ code: "backoff", count: 1 }]);
    delays.push((plan.nextWakeMs ?? 0) - cluster.nowMs);
    cluster.nowMs = (plan.nextWakeMs ?? 0) - 1;
    expect(cluster.pass().actions).toEqual([]);
    cluster.nowMs += 1;
    expect(kinds(cluster.pass())).toEqual(["create-instance"]);
    cluster.obey();
  }
  expect(delays.map(Math.round)).toEqual([1000, 1150, 1323, 1521]);
  expect(cluster.failures.at(-1)).toMatchObject({ appId: "/web", message: "out of memory (exit code 1)" });
  cluster.nowMs = (cluster.pass().nextWakeMs ?? 0) + 1;
  expect(kinds(cluster.pass())).toEqual(["clear-backoff"]);
  expect(cluster.pass().nextWakeMs).toBeNull();
});

test("planRollout() counts a wave of failures as one", () => {
  const cluster = running(web({ instances: 5 }));
  for (const { id } of cluster.active()) cluster.fail(id);
  cluster.pass();
  expect(cluster.backoffs.get(web().id)?.delayMs).toBe(1000);
});

test("planRollout() keeps the wait over scaling and drops it on a changed definition or a restart", () => {
  const failing = (): SampleCluster => {
    const cluster = running(web({ instances: 1 }));
    for (const { id } of cluster.active()) cluster.fail(id);
    cluster.pass();
    return cluster;
  };
  const scaled = failing();
  scaled.change([{ kind: "scale", id: web().id, instances: 3 }]);
  expect(scaled.pass().problems).toMatchObject([{ code: "backoff", count: 3 }]);
  const changed = failing();
  changed.put(web({ instances: 1, image: "app:2" }));
  expect(kinds(changed.pass())).toContain("create-instance");
  expect(changed.backoffs.size).toBe(0);
  const restarted = failing();
  restarted.change([{ kind: "restart", id: web().id }]);
  expect(kinds(restarted.pass())).toContain("create-instance");
});

test("planRollout() drains and replaces an instance whose check failed for too long", () => {
  const cluster = running(web({ healthChecks: [HTTP_CHECK] }));
  const [first] = cluster.active();
  if (first === undefined) throw new Error("one is there");
  cluster.run(first.id, "unhealthy", true);
  const plan = cluster.pass();
  expect(kinds(plan)).toEqual(["drain-instance", "record-failure", "set-backoff"]);
  expect(cluster.failures.at(-1)?.message).toContain("health check failed");
  cluster.nowMs += 1000;
  cluster.settle();
  expect(cluster.active().length).toBe(2);
  expect(cluster.instances.has(first.id)).toBe(false);
});

test("planRollout() replaces instances of a down host after a while, and ends the surplus when it returns", () => {
  const cluster = running(web());
  const [first] = cluster.active();
  if (first === undefined) throw new Error("one is there");
  cluster.setHost(String(first.hostId), { presence: { phase: "down", sinceMs: cluster.nowMs } });
  const early = cluster.pass();
  expect(early.actions).toEqual([]);
  expect(early.nextWakeMs).toBe(cluster.nowMs + REPLACE_AFTER_MS);
  cluster.nowMs += REPLACE_AFTER_MS;
  expect(kinds(cluster.pass())).toEqual(["create-instance"]);
  cluster.settle();
  expect(cluster.instances.size).toBe(3);
  cluster.setHost(String(first.hostId), { presence: { phase: "up" } });
  const plan = cluster.pass();
  expect(kinds(plan)).toEqual(["drain-instance"]);
  // Youngest first: the one that came back stays.
  expect(plan.actions[0]).not.toMatchObject({ id: first.id });
});

test("planRollout() replaces instances of a removed host at once", () => {
  const cluster = running(web());
  cluster.hosts = cluster.hosts.slice(1);
  expect(kinds(cluster.pass())).toEqual(["forget-instance", "create-instance"]);
});

test("planRollout() leaves instances alone while a restarted server has not heard of their hosts", () => {
  const cluster = running(web());
  cluster.statuses.clear();
  for (const { name } of cluster.hosts) cluster.setHost(name, { presence: { phase: "joining" } });
  cluster.nowMs += 3_600_000;
  expect(cluster.pass().actions).toEqual([]);
  cluster.put(web({ image: "app:2" }));
  expect(kinds(cluster.pass())).toEqual([]);
});

test("planRollout() ends a destroyed app's deployment when nothing is left, down hosts or not", () => {
  const cluster = running(web({ instances: 3 }));
  cluster.setHost("h2", { presence: { phase: "down", sinceMs: 0 } });
  cluster.change([{ kind: "destroy", id: web().id }]);
  const plan = cluster.pass();
  expect(kinds(plan).toSorted()).toEqual(["drain-instance", "drain-instance", "forget-instance"]);
  expect(cluster.deployments.size).toBe(1);
  cluster.settle();
  expect(cluster.instances.size).toBe(0);
  expect(cluster.deployments.size).toBe(0);
});

test("planRollout() does not wait for a down host to confirm the end of what was leaving there", () => {
  for (const goal of ["draining", "stopped"] as const) {
    const cluster = running(web());
    const [first] = cluster.active();
    if (first === undefined) throw new Error("one is there");
    cluster.instances.set(first.id, { ...first, goal, drainSinceMs: cluster.nowMs });
    cluster.setHost(String(first.hostId), { presence: { phase: "down", sinceMs: cluster.nowMs } });
    cluster.nowMs += REPLACE_AFTER_MS;
    expect(cluster.pass().actions).toContainEqual({ kind: "forget-instance", id: first.id, reason: "it is gone" });
  }
});

test("planRollout() follows dependencies, and keeps apps alive whose step has not come", () => {
  const cluster = new SampleCluster(3);
  const db = sampleSpec("/db");
  const api = web({ dependencies: [db.id] });
  cluster.change([
    { kind: "put", spec: db },
    { kind: "put", spec: api },
  ]);
  cluster.pass();
  expect([cluster.active("/db").length, cluster.active("/web").length]).toEqual([1, 0]);
  cluster.obey();
  cluster.pass();
  expect(cluster.active("/web").length).toBe(2);
  cluster.settle();
  cluster.nowMs += 60_000;
  cluster.change([
    { kind: "put", spec: { ...db, image: "db:2" } },
    { kind: "put", spec: { ...api, image: "app:2", instances: 4 } },
  ]);
  const [victim] = cluster.active("/web");
  if (victim === undefined) throw new Error("one is there");
  cluster.fail(victim.id);
  cluster.pass();
  cluster.nowMs += 2000;
  cluster.pass();
  expect(cluster.active("/web").length).toBe(2);
  cluster.settle();
  expect(cluster.active("/web").length).toBe(4);
  expect(cluster.deployments.size).toBe(0);
});

test("planRollout() goes back over a cancelled deployment and keeps old instances that still run", () => {
  const cluster = running(web({ instances: 3, healthChecks: [HTTP_CHECK], ...upgrade(1, 0) }));
  const before = cluster.active().map(({ id }) => id);
  const { deployment } = cluster.put(
    web({ instances: 3, healthChecks: [HTTP_CHECK], ...upgrade(1, 0), image: "app:2" }),
  );
  cluster.pass();
  cluster.nowMs += 1000;
  cluster.cancel(deployment.id);
  cluster.settle();
  expect(cluster.active().map(({ id }) => id)).toEqual(before);
  expect(cluster.instances.size).toBe(3);
});

test("planRollout() leaves the mixed state of a dropped deployment as it stands", () => {
  const cluster = running(web({ instances: 3, ...upgrade(1, 0) }));
  const { deployment } = cluster.put(web({ instances: 3, ...upgrade(1, 0), image: "app:2" }));
  cluster.pass();
  cluster.obey();
  cluster.deployments.delete(deployment.id);
  cluster.settle();
  const versions = new Set(cluster.active().map(({ version }) => version));
  expect(cluster.instances.size).toBe(3);
  expect(versions.size).toBe(2);
});

test("planRollout() gives up an instance that does not come to run", () => {
  const cluster = new SampleCluster(1);
  cluster.put(web({ instances: 1 }));
  cluster.pass();
  const [instance] = cluster.active();
  if (instance === undefined) throw new Error("one is there");
  cluster.statuses.set(instance.id, { phase: "staging", step: "pulling", sinceMs: cluster.nowMs });
  const plan = cluster.pass();
  expect(plan.nextWakeMs).toBe(cluster.nowMs + 11 * 60_000);
  cluster.nowMs += 11 * 60_000;
  expect(kinds(cluster.pass())).toEqual(["forget-instance", "record-failure", "set-backoff"]);
});

test("planRollout() says why instances find no host", () => {
  const cluster = new SampleCluster(2);
  cluster.setHost("h2", { cordoned: true });
  cluster.put(web({ instances: 3, cpus: 3 }));
  const { problems } = cluster.pass();
  expect(problems).toMatchObject([
    {
      code: "no-capacity",
      count: 2,
      message: 'Cannot place 2 instances of "/web": of 2 hosts, 1 not taking instances, 1 short of cpu',
      hosts: [
        { host: "h1", reason: "needs 3 cpu, 1 free" },
        { host: "h2", reason: "it is cordoned" },
      ],
    },
  ]);
});

test("planRollout() is total, and repeats itself, over any state of instances", () => {
  const phase = fc.constantFrom("none", "staging", "healthy", "unhealthy", "condemned", "failed", "gone", "stopping");
  const goal = fc.constantFrom("running", "draining", "stopped");
  const copy = fc.record({ phase, goal, host: fc.integer({ min: 1, max: 4 }), old: fc.boolean() });
  const share = fc.constantFrom(0, 0.3, 0.5, 1);
  fc.assert(
    fc.property(
      fc.array(copy, { maxLength: 12 }),
      fc.record({ n: fc.integer({ min: 0, max: 8 }), m: share, o: share, rolling: fc.boolean(), down: fc.boolean() }),
      (copies, { n, m, o, rolling, down }) => {
        const cluster = new SampleCluster(3);
        const first = cluster.put(web({ instances: n, ...upgrade(m, o) })).puts[0];
        cluster.deployments.clear();
        const second = cluster.put(web({ instances: n, ...upgrade(m, o), image: "app:2" })).puts[0];
        if (first === undefined || second === undefined) throw new Error("both are changes");
        if (!rolling) cluster.deployments.clear();
        if (down) cluster.setHost("h2", { presence: { phase: "down", sinceMs: 0 } });
        copies.forEach((each, at) => {
          const id = `web.instance-x${at}` as typeof cluster extends { instances: Map<infer K, unknown> } ? K : never;
          cluster.instances.set(id, {
            id,
            appId: second.spec.id,
            version: (each.old ? first : second).version,
            hostId: `h${each.host}` as never,
            createdAtMs: cluster.nowMs - at,
            goal: each.goal as never,
          });
          if (each.phase === "staging")
            cluster.statuses.set(id, { phase: "staging", step: "creating", sinceMs: cluster.nowMs });
          else if (each.phase === "failed") cluster.fail(id);
          else if (each.phase === "gone") cluster.statuses.set(id, { phase: "gone" });
          else if (each.phase === "stopping") cluster.statuses.set(id, { phase: "stopping", sinceMs: cluster.nowMs });
          else if (each.phase !== "none")
            cluster.run(id, each.phase === "healthy" ? "healthy" : "unhealthy", each.phase === "condemned");
        });
        const uuids = { newUuid: () => "u" };
        expect(planRollout({ ...cluster.input(), ...uuids })).toEqual(planRollout({ ...cluster.input(), ...uuids }));
        const heal = (): void => {
          cluster.nowMs += 20_000;
          for (const { id } of cluster.active()) if (cluster.statuses.get(id)?.phase === "running") cluster.run(id);
        };
        // Also before the first pass: one that waits for nothing but health has nothing to do in it.
        heal();
        cluster.settle(heal);
        const lost = cluster.active().filter(({ hostId }) => down && hostId === "h2").length;
        expect(cluster.active().length - lost).toBe(n);
        expect(cluster.deployments.size).toBe(0);
      },
    ),
    { numRuns: 300 },
  );
});
