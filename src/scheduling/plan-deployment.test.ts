import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import type { AppId, DeploymentId } from "../model/ids.ts";
import type { Deployment } from "../model/deployment.ts";
import { SampleCluster, sampleSpec } from "./sample-cluster.ts";

const refusal = (run: () => unknown): AppError => {
  try {
    run();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("It was not refused");
};
/** "Start /a, Start /b; Scale /a": steps in a line. */
const steps = ({ steps: all }: Deployment): string =>
  all.map((actions) => actions.map(({ action, app }) => `${action.replace("Application", "")} ${app}`).join(", ")).join("; ");
const idle = (cluster: SampleCluster): SampleCluster => {
  cluster.deployments.clear();
  cluster.nowMs += 1000;
  return cluster;
};
const web = sampleSpec("/web", { instances: 2 });
const withWeb = (): SampleCluster => {
  const cluster = new SampleCluster();
  cluster.put(web);
  return idle(cluster);
};

test("planChange() starts a new app and then scales it", () => {
  const cluster = new SampleCluster();
  const { puts, deployment, deletes, cancelled } = cluster.put(web);
  expect(steps(deployment)).toBe("Start /web; Scale /web");
  expect(deployment.affectedApps).toEqual([web.id]);
  expect(deployment.original).toEqual({ "/web": null });
  const { version } = deployment;
  expect(puts).toEqual([{ version, spec: web, lastScalingAt: version, lastConfigChangeAt: version }]);
  expect([deletes, cancelled]).toEqual([[], []]);
  expect(steps(new SampleCluster().put({ ...web, instances: 0 }).deployment)).toBe("Start /web");
});

test("planChange() tells scaling, changing, restarting and nothing apart", () => {
  const at = (cluster: SampleCluster): string | undefined => cluster.apps.get(web.id)?.lastConfigChangeAt;
  const same = withWeb();
  const nothing = same.put({ ...web });
  expect([steps(nothing.deployment), nothing.puts, nothing.deployment.affectedApps]).toEqual(["", [], []]);
  expect(nothing.deployment.version > (same.apps.get(web.id)?.version ?? "")).toBe(true);

  const scaled = withWeb();
  const first = at(scaled);
  const scaling = scaled.change([{ kind: "scale", id: web.id, instances: 5 }]);
  expect(steps(scaling.deployment)).toBe("Scale /web");
  const version = scaling.deployment.version;
  expect(scaling.puts[0]).toMatchObject({ version, lastScalingAt: version, lastConfigChangeAt: first });

  const changed = withWeb();
  const change = changed.put({ ...web, labels: { team: "a" }, instances: 5 });
  expect(steps(change.deployment)).toBe("Restart /web");
  expect(at(changed)).toBe(change.deployment.version);
  expect(change.deployment.original).toEqual({ "/web": first });

  const restarted = withWeb();
  const restart = restarted.change([{ kind: "restart", id: web.id }]);
  expect(steps(restart.deployment)).toBe("Restart /web");
  expect(restart.puts[0]).toMatchObject({ lastScalingAt: first, lastConfigChangeAt: restart.deployment.version });
});

test("planChange() does not see a difference in the order of keys", () => {
  const cluster = new SampleCluster();
  cluster.put({ ...web, env: { A: "1", B: "2" } });
  expect(idle(cluster).put({ ...web, env: { B: "2", A: "1" } }).puts).toEqual([]);
});

test("planChange() stops first, starts new apps, then goes by dependencies", () => {
  const cluster = new SampleCluster();
  const spec = (id: string, ...dependencies: string[]) => sampleSpec(id, { dependencies: dependencies as AppId[] });
  const put = (...args: Parameters<typeof spec>) => ({ kind: "put" as const, spec: spec(...args) });
  const created = cluster.change([put("/shop/web", "/shop/api"), put("/shop/api", "/db"), put("/db"), put("/old"), put("/cache")]);
  expect(steps(created.deployment)).toBe(
    "Start /cache, Start /db, Start /old, Start /shop/api, Start /shop/web; " +
      "Scale /cache, Scale /db, Scale /old; Scale /shop/api; Scale /shop/web",
  );
  idle(cluster);
  const mixed = cluster.change([
    { kind: "destroy", id: spec("/old").id },
    { kind: "restart", id: spec("/shop/web").id },
    { kind: "scale", id: spec("/db").id, instances: 3 },
    // A group stands for all apps below it.
    put("/front", "/shop"),
  ]);
  expect(steps(mixed.deployment)).toBe("Stop /old; Start /front; Scale /db; Restart /shop/web; Scale /front");
  expect(mixed.deletes).toEqual([spec("/old").id]);
});

test("planChange() refuses cycles and changes nothing", () => {
  const cluster = new SampleCluster();
  const error = refusal(() =>
    cluster.change([
      { kind: "put", spec: sampleSpec("/a", { dependencies: ["/b" as AppId] }) },
      { kind: "put", spec: sampleSpec("/b", { dependencies: ["/a" as AppId] }) },
    ]),
  );
  expect([error.code, error.message]).toEqual(["invalid", "Dependency graph has cyclic dependencies."]);
  expect(cluster.apps.size).toBe(0);
  expect(refusal(() => cluster.put(sampleSpec("/a", { dependencies: ["/a" as AppId] }))).code).toBe("invalid");
});

test("planChange() refuses what is not there, what is there already, and counts that are none", () => {
  const cluster = withWeb();
  const none = sampleSpec("/none").id;
  expect(refusal(() => cluster.change([{ kind: "scale", id: none, instances: 1 }])).code).toBe("not-found");
  expect(refusal(() => cluster.change([{ kind: "restart", id: none }])).code).toBe("not-found");
  expect(refusal(() => cluster.change([{ kind: "destroy", id: none }])).code).toBe("not-found");
  expect(refusal(() => cluster.change([{ kind: "put", spec: web, ifAbsent: true }])).code).toBe("conflict");
  expect(refusal(() => cluster.change([{ kind: "scale", id: web.id, instances: -1 }])).code).toBe("invalid");
  expect(refusal(() => cluster.change([{ kind: "scale", id: web.id, instances: 1.5 }])).code).toBe("invalid");
  const version = cluster.apps.get(web.id)?.version;
  if (version === undefined) throw new Error("it is there");
  expect(refusal(() => cluster.change([{ kind: "rollback", id: web.id, version: "x" as typeof version }])).code).toBe("not-found");
});

test("planChange() goes back to a version as a new one", () => {
  const cluster = withWeb();
  const version = cluster.apps.get(web.id)?.version;
  if (version === undefined) throw new Error("it is there");
  cluster.put({ ...web, image: "app:2" });
  idle(cluster);
  const { puts, deployment } = cluster.change([{ kind: "rollback", id: web.id, version }]);
  expect(puts[0]?.spec).toEqual(web);
  expect(puts[0]?.lastConfigChangeAt).toBe(deployment.version);
  expect(steps(deployment)).toBe("Restart /web");
});

test("planChange() is refused while a deployment has the app, unless forced", () => {
  const cluster = withWeb();
  const { deployment } = cluster.put({ ...web, image: "app:2" });
  const scale = [{ kind: "scale" as const, id: web.id, instances: 7 }];
  const error = refusal(() => cluster.change(scale));
  expect(error.code).toBe("conflict");
  expect(error.details["deployments"]).toEqual([deployment.id]);
  expect(cluster.put(sampleSpec("/other")).cancelled).toEqual([]);
  const forced = cluster.change(scale, true);
  expect(forced.cancelled).toEqual([deployment.id]);
  // Outdated instances are still to be replaced.
  expect(steps(forced.deployment)).toBe("Restart /web");
});

test("planChange() takes over what a cancelled deployment had still to do for other apps", () => {
  const cluster = new SampleCluster();
  const [a, b] = [sampleSpec("/a"), sampleSpec("/b", { dependencies: ["/a" as AppId] })];
  const specs = [a, b].map((spec) => ({ kind: "put" as const, spec }));
  cluster.change(specs);
  idle(cluster);
  const before = cluster.apps.get(b.id)?.version ?? null;
  cluster.change(specs.map(({ spec }) => ({ kind: "put", spec: { ...spec, image: "app:2" } })));
  const { deployment } = cluster.change([{ kind: "destroy", id: a.id }], true);
  expect(steps(deployment)).toBe("Stop /a; Restart /b");
  expect(deployment.original[b.id]).toBe(before);
});

test("planCancel() undoes its deployment alone", () => {
  const created = new SampleCluster();
  const first = created.put(web).deployment;
  created.put(sampleSpec("/other"));
  const undone = created.cancel(first.id);
  expect(steps(undone.deployment)).toBe("Stop /web");
  expect([undone.deletes, undone.cancelled]).toEqual([[web.id], [first.id]]);
  expect(created.deployments.size).toBe(2);

  const scaled = withWeb();
  const scaling = scaled.change([{ kind: "scale", id: web.id, instances: 9 }]).deployment;
  const back = scaled.cancel(scaling.id);
  expect(steps(back.deployment)).toBe("Scale /web");
  expect(scaled.apps.get(web.id)?.spec.instances).toBe(2);

  const changed = withWeb();
  const before = changed.apps.get(web.id);
  const change = changed.put({ ...web, image: "app:2" }).deployment;
  changed.cancel(change.id);
  const after = changed.apps.get(web.id);
  expect(after?.spec).toEqual(web);
  expect(after?.lastConfigChangeAt).toBe(before?.lastConfigChangeAt);
  expect((after?.version ?? "") > change.version).toBe(true);

  const destroyed = withWeb();
  const end = destroyed.change([{ kind: "destroy", id: web.id }]).deployment;
  const again = destroyed.cancel(end.id);
  expect(steps(again.deployment)).toBe("Start /web; Scale /web");
  expect(() => destroyed.cancel("none" as DeploymentId)).toThrow();
});

test("planChange() gives versions that grow, whatever the clock does", () => {
  const cluster = new SampleCluster();
  const versions = [1000, 1000, 0, -50_000, 2000].map((moveMs, at) => {
    cluster.nowMs += moveMs;
    return cluster.put({ ...web, image: `app:${at}` }, true).deployment.version;
  });
  expect(versions.toSorted()).toEqual(versions);
  expect(new Set(versions).size).toBe(versions.length);
});

test("planChange() gives a plan or an AppError for any changes", () => {
  const id = fc.constantFrom("/a", "/b", "/c/d", "/c/e");
  const spec = fc
    .record({ id, instances: fc.integer({ min: 0, max: 3 }), dependencies: fc.array(fc.constantFrom("/a", "/b", "/c"), { maxLength: 2 }) })
    .map((each) => sampleSpec(each.id, { instances: each.instances, dependencies: each.dependencies as AppId[] }));
  const appId = id.map((text) => sampleSpec(text).id);
  const change = fc.oneof(
    fc.record({ kind: fc.constant("put" as const), spec }),
    fc.record({ kind: fc.constant("scale" as const), id: appId, instances: fc.integer({ min: -1, max: 3 }) }),
    fc.record({ kind: fc.constant("restart" as const), id: appId }),
    fc.record({ kind: fc.constant("destroy" as const), id: appId }),
  );
  fc.assert(
    fc.property(fc.array(fc.record({ changes: fc.array(change, { maxLength: 3 }), force: fc.boolean() }), { maxLength: 6 }), (calls) => {
      const cluster = new SampleCluster();
      for (const { changes, force } of calls) {
        const apps = new Map(cluster.apps);
        try {
          const { deployment, puts, deletes } = cluster.change(changes, force);
          const planned = new Set(deployment.steps.flat().map(({ app }) => app));
          expect([...planned].toSorted()).toEqual([...deployment.affectedApps]);
          for (const each of [...puts.map((app) => app.spec.id), ...deletes]) expect(planned.has(each)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect(cluster.apps).toEqual(apps);
        }
      }
    }),
  );
});
