import { DEFAULT_CHECK_TIMING, DEFAULT_STOP_GRACE_MS } from "../model/app.ts";
import type { AppSpec, AppVersion, Constraint } from "../model/app.ts";
import { parseAppId } from "../model/ids.ts";
import type { AppId } from "../model/ids.ts";
import type { AppChange } from "../scheduling/app-service.ts";
import type { SeededRandom } from "./seeded-random.ts";

export interface DrawLimits {
  readonly hosts: number;
  readonly appsMax: number;
}

/** One to three changes that users could ask for; always ones that a healthy cluster of that size can follow. */
export function drawChange(
  random: SeededRandom,
  { apps }: { readonly apps: ReadonlyMap<AppId, AppVersion> },
  limits: DrawLimits,
): readonly AppChange[] {
  const ids = new Set<AppId>();
  const count = random.chance(0.8) ? 1 : random.integer(1, 3);
  const changes: AppChange[] = [];
  for (let at = 0; at < count; at += 1) {
    const number = random.integer(1, limits.appsMax);
    const id = parseAppId(`/app-${number}`);
    if (ids.has(id)) continue;
    ids.add(id);
    changes.push(drawOne(random, id, { before: apps.get(id), number, hosts: limits.hosts }));
  }
  return changes;
}

function drawOne(
  random: SeededRandom,
  id: AppId,
  { before, number, hosts }: { before: AppVersion | undefined; number: number; hosts: number },
): AppChange {
  if (before === undefined) return { kind: "put", spec: drawSpec(random, id, { number, hosts }) };
  const { spec } = before;
  const roll = random.next();
  if (roll < 0.35) return { kind: "put", spec: { ...spec, ...drawUpdate(random), env: drawEnv(random) } };
  if (roll < 0.7) return { kind: "scale", id, instances: drawCount(random, spec.constraints, hosts) };
  if (roll < 0.8) return { kind: "restart", id };
  if (roll < 0.9) return { kind: "destroy", id };
  return { kind: "put", spec: drawSpec(random, id, { number, hosts }) };
}

function drawSpec(random: SeededRandom, id: AppId, { number, hosts }: { number: number; hosts: number }): AppSpec {
  const constraints = drawConstraints(random);
  return {
    id,
    instances: drawCount(random, constraints, hosts),
    cpus: random.pick([0.1, 0.25, 0.5]),
    memoryMiB: random.pick([32, 128, 400]),
    diskMiB: 0,
    forcePull: false,
    privileged: false,
    argv: null,
    shell: false,
    user: null,
    tty: false,
    network: "apollo",
    ports: [],
    volumes: [],
    env: drawEnv(random),
    labels: {},
    healthChecks: random.chance(0.5)
      ? [{ ...DEFAULT_CHECK_TIMING, kind: "http", path: "/", portIndex: 0, port: null, ignoreHttp1xx: false }]
      : [],
    backoff: { initialMs: 1000, factor: 1.5, maxMs: 20_000 },
    constraints,
    // Only on lower numbers, so that there are no cycles.
    dependencies: number > 1 && random.chance(0.4) ? [parseAppId(`/app-${random.integer(1, number - 1)}`)] : [],
    killSelection: random.pick(["YOUNGEST_FIRST", "OLDEST_FIRST"] as const),
    stopGraceMs: random.pick([0, DEFAULT_STOP_GRACE_MS]),
    ...drawUpdate(random),
  };
}

function drawUpdate(random: SeededRandom): Pick<AppSpec, "image" | "upgrade"> {
  return {
    image: `app:${random.integer(1, 1000)}`,
    upgrade: {
      minimumHealthCapacity: random.pick([0, 0.3, 0.5, 1, 1]),
      maximumOverCapacity: random.pick([0, 0, 0.1, 0.5, 1]),
    },
  };
}

/** A tenth of the releases is bad. */
function drawEnv(random: SeededRandom): Readonly<Record<string, string>> {
  return random.chance(0.1) ? { MISBEHAVE: random.pick(["no-start", "never-healthy"]) } : {};
}

function drawConstraints(random: SeededRandom): readonly Constraint[] {
  if (random.chance(0.6)) return [];
  return [
    random.pick<Constraint>([
      { field: "hostname", operator: "UNIQUE", value: null },
      { field: "hostname", operator: "MAX_PER", value: "2" },
      { field: "hostname", operator: "LIKE", value: "h.*" },
      { field: "rack", operator: "UNLIKE", value: "r9" },
      { field: "@hostname", operator: "CLUSTER", value: null },
    ]),
  ];
}

function drawCount(random: SeededRandom, constraints: readonly Constraint[], hosts: number): number {
  const unique = constraints.some(({ operator }) => operator === "UNIQUE" || operator === "MAX_PER");
  const count = random.pick([0, 1, 2, 2, 3, 4, 6, 10]);
  return unique ? Math.min(count, hosts) : count;
}
