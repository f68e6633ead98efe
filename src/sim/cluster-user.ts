import { AppError } from "../model/error.ts";
import type { AppId } from "../model/ids.ts";
import type { ClusterServer } from "../server/cluster-server.ts";
import { drawChange } from "./draw-change.ts";
import { dressChange } from "./dress-change.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { ServerProcess } from "./server-process.ts";

export interface ClusterUserOptions {
  readonly random: SeededRandom;
  readonly hosts: number;
  readonly trace: (line: string) => void;
  readonly report: (broken: readonly string[]) => void;
}

export const APPS_MAX = 4;

/** Asks for anything at any time, and remembers what was answered. */
export class ClusterUser {
  readonly #options: ClusterUserOptions;
  /** Whether two apps share a service. */
  readonly #sharing: boolean;
  /** Of the server that runs now; those of a dead one never end. */
  #open = new Set<Promise<void>>();
  /** Apps as they were when their last change was answered, as long as no other is asked for. */
  readonly #acknowledged = new Map<AppId, string>();
  requests = 0;

  constructor(options: ClusterUserOptions) {
    this.#options = options;
    this.#sharing = options.random.chance(0.5);
  }

  /** One request. It may be refused, and it may run alongside whatever comes next. */
  ask(server: ServerProcess): void {
    if (server.process.paused) return;
    this.requests += 1;
    const { report, trace } = this.#options;
    const task = this.#request(server.cluster).then(
      () => undefined,
      (error: unknown) => {
        if (!(error instanceof AppError)) report([`a request threw: ${String(error)}`]);
        else if (error.code === "internal") report([`a request was refused: ${error.message}`]);
        else trace(`refused: ${error.message}`);
      },
    );
    this.#open.add(task);
    void task.then(() => this.#open.delete(task));
  }

  async answered(): Promise<void> {
    await Promise.all(this.#open);
  }

  serverDied(): void {
    this.#open = new Set();
  }

  /** Answered changes that a server which has just started does not know, in words. */
  findForgotten({ cluster }: ServerProcess): readonly string[] {
    return [...this.#acknowledged].flatMap(([id, text]) => {
      const found = JSON.stringify(cluster.state.apps.get(id) ?? null);
      return found === text ? [] : [`the server forgot an answered change of ${id}: ${found} instead of ${text}`];
    });
  }

  #request({ apps, state }: ClusterServer): Promise<unknown> {
    const { random, hosts, trace } = this.#options;
    const force = random.chance(0.7);
    const deployments = apps.deployments().map(({ id }) => id);
    const instances = apps.instances().map(({ instance }) => instance.id);
    if (deployments.length > 0 && random.chance(0.12)) {
      this.#acknowledged.clear();
      return apps.cancelDeployment(random.pick(deployments), { force: random.chance(0.3) });
    }
    if (instances.length > 0 && random.chance(0.15)) {
      this.#acknowledged.clear();
      return apps.killInstances([random.pick(instances)], { force, scale: random.chance(0.3) });
    }
    const drawn = drawChange(random, state, { hosts, appsMax: APPS_MAX });
    const changes = drawn.map((change) => dressChange(change, this.#sharing));
    const ids = changes.map((each) => ("spec" in each ? each.spec.id : each.id));
    trace(`change ${changes.map(({ kind }, at) => `${kind} ${ids[at]}`).join(", ")}`);
    for (const id of ids) this.#acknowledged.delete(id);
    return apps.change(changes, { force }).then(() => {
      for (const id of ids) this.#acknowledged.set(id, JSON.stringify(state.apps.get(id) ?? null));
    });
  }
}
