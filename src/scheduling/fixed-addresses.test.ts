import { expect, test } from "bun:test";
import type { AppVersion } from "../model/app.ts";
import type { HostId, InstanceId, Version } from "../model/ids.ts";
import type { Instance, InstanceStatus } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import { appSpec } from "../sim/agent-fixtures.ts";
import type { HostLoad } from "./host-load.ts";
import { planRollout, type RolloutInput } from "./plan-rollout.ts";
import { sampleHost } from "./sample-cluster.ts";

const [A, B] = [parseIpv4("10.2.0.5"), parseIpv4("10.2.0.6")];
const V1 = "2026-01-01T00:00:00.000Z" as Version;
const V2 = "2026-01-02T00:00:00.000Z" as Version;

function appOf(version: Version, instances: number, addresses = [A, B].slice(0, instances)): AppVersion {
  return { version, spec: appSpec({ instances, addresses }), lastScalingAt: V1, lastConfigChangeAt: version };
}

function instanceOf(id: string, address = A, change: Partial<Instance> = {}): Instance {
  const { spec } = appOf(V1, 1);
  const base = { id: id as InstanceId, appId: spec.id, version: V1, hostId: "h1" as HostId, createdAtMs: 0 };
  return { ...base, goal: "running", address, ...change };
}

const RUNNING: InstanceStatus = {
  phase: "running",
  containerId: "c",
  address: A,
  startedAtMs: 0,
  health: "none",
  checks: [],
  condemned: false,
};

function plan(
  app: AppVersion,
  instances: readonly Instance[],
  hosts: readonly HostLoad[] = [sampleHost("h1"), sampleHost("h2")],
) {
  const input: RolloutInput = {
    apps: new Map([[app.spec.id, app]]),
    deployments: [],
    instances: new Map(instances.map((instance) => [instance.id, instance])),
    statuses: new Map(instances.map(({ id }) => [id, RUNNING])),
    hosts,
    backoffs: new Map(),
    nowMs: 100_000,
    drainedBy: () => false,
    newUuid: () => "u",
  };
  return planRollout(input).actions.map((action) => {
    if (action.kind === "create-instance") return `create ${action.instance.address ?? "any"}`;
    return `${action.kind} ${"id" in action ? action.id : ""}`;
  });
}

test("each new instance gets an address of its own", () => {
  expect(plan(appOf(V1, 2), [])).toEqual([`create ${A}`, `create ${B}`]);
  expect(plan(appOf(V1, 2), [instanceOf("one")])).toEqual([`create ${B}`]);
});

test("an address that is in use until its instance has gone is waited for", () => {
  expect(plan(appOf(V1, 1), [instanceOf("one", A, { goal: "stopped" })])).toEqual([]);
});

test("the replacement of an instance on a lost host takes its address along", () => {
  const lost = sampleHost("h1", { presence: { phase: "down", sinceMs: 0 } });
  expect(plan(appOf(V1, 1), [instanceOf("one")], [lost, sampleHost("h2")])).toEqual([
    "forget-instance one",
    `create ${A}`,
  ]);
});

test("a change of one instance with one address ends the old one first", () => {
  const app = appOf(V2, 1);
  const step = planOf(app, [instanceOf("one")]);
  expect(step).toEqual(["drain-instance one"]);
  expect(planOf(app, [instanceOf("one", A, { goal: "stopped" })])).toEqual([]);
  expect(planOf(app, [])).toEqual([`create ${A}`]);
});

/** A pass of a deployment that restarts the app. */
function planOf(app: AppVersion, instances: readonly Instance[]): readonly string[] {
  const { id } = app.spec;
  const { actions } = planRollout({
    apps: new Map([[id, app]]),
    deployments: [
      {
        id: "d" as never,
        version: V2,
        affectedApps: [id],
        steps: [[{ action: "RestartApplication", app: id }]],
        currentStep: 0,
        startedAtMs: 0,
        original: { [id]: V1 },
      },
    ],
    instances: new Map(instances.map((instance) => [instance.id, instance])),
    statuses: new Map(instances.map((instance) => [instance.id, RUNNING])),
    hosts: [sampleHost("h1"), sampleHost("h2")],
    backoffs: new Map(),
    nowMs: 100_000,
    drainedBy: () => false,
    newUuid: () => "u",
  });
  return actions.map((action) =>
    action.kind === "create-instance"
      ? `create ${action.instance.address ?? "any"}`
      : `${action.kind} ${"id" in action ? action.id : ""}`,
  );
}
