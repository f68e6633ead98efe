import { FakeCluster } from "./fake-cluster.ts";

const NAMES = [
  "nodejs-rest-api-v1",
  "nodejs-rest-api-v2",
  "shop/web",
  "shop/cart",
  "shop/search",
  "billing",
  "mail-relay",
  "metrics-store",
  "auth",
  "image-resizer",
  "queue-worker",
  "docs",
];

/** A cluster with instances spread over a few apps and one of each trouble, to look at. */
export function makeDemoCluster(hosts: number, perHost: number): FakeCluster {
  const total = hosts * perHost;
  const names = NAMES.slice(0, Math.max(2, Math.min(NAMES.length, Math.round(total / 4))));
  const apps = names.map((name, index) => ({
    id: `/${name}`,
    instances: Math.floor(total / names.length) + (index < total % names.length ? 1 : 0),
    checked: name !== "queue-worker",
  }));
  return new FakeCluster({ hosts, apps });
}

/** Adds one of each state to a demo cluster. */
export function addTroubles(cluster: FakeCluster): void {
  const all = [...cluster.instances.values()];
  const pick = (share: number) => all[Math.floor(all.length * share)];
  const sick = pick(0.2);
  if (sick !== undefined) {
    cluster.update({ ...sick, health: "unhealthy", message: "GET /health answered 503, 2 times in a row" });
  }
  const starting = pick(0.5);
  if (starting !== undefined) {
    cluster.update({
      ...starting,
      phase: "staging",
      health: "unknown",
      address: null,
      startedAtMs: null,
      message: "pulling",
    });
  }
  const leaving = pick(0.7);
  if (leaving !== undefined) cluster.update({ ...leaving, goal: "draining" });
  const failed = pick(0.9);
  if (failed !== undefined) cluster.update({ ...failed, phase: "failed", address: null, message: "exit code 1" });
  const last = [...cluster.hosts.values()].at(-1);
  if (last !== undefined) {
    cluster.updateHost({
      ...last,
      conditions: [
        {
          code: "clock-skew",
          severity: "warning",
          text: "clock is 4 s ahead",
          hint: "Start a time service: systemctl enable --now chrony",
        },
      ],
    });
  }
}
