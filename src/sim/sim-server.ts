/**
 * A server around the real planner, placement and liveness: desired state in the store, observed state from streams. It
 * stands in for the product's server until that runs here itself; everything but its size is meant to be the same.
 */
import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, Problem } from "../model/deployment.ts";
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import type { AppId, DeploymentId, HostId, InstanceId, Version } from "../model/ids.ts";
import type { Assignment, Instance, InstanceStatus } from "../model/instance.ts";
import { WIRE_VERSION } from "../model/wire.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Store, StoreWrite } from "../platform/ports/store.ts";
import { LIVENESS_TICK_MS, Liveness } from "../cluster/liveness.ts";
import type { AppChange } from "../scheduling/app-service.ts";
import type { BackoffState } from "../scheduling/backoff.ts";
import { hostLoads } from "../scheduling/host-load.ts";
import { planCancel, planChange } from "../scheduling/plan-deployment.ts";
import type { PlannedChange } from "../scheduling/plan-deployment.ts";
import { planRollout } from "../scheduling/plan-rollout.ts";
import type { RolloutInput, RolloutPlan } from "../scheduling/plan-rollout.ts";
import type { RolloutAction } from "../scheduling/rollout-pass.ts";
import type { FakeTransport, FrameStream } from "./fake-transport.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import { parseAgentMessage } from "../model/parse-message.ts";

export interface SimServerOptions {
  readonly store: Store;
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly transport: FakeTransport;
  /** Sees each pass of the planner before it is applied. */
  readonly onPass: (input: RolloutInput, plan: RolloutPlan) => void;
}

interface Session {
  readonly stream: FrameStream;
  readonly sent: Map<InstanceId, Assignment>;
  applied: number;
}

/** Drift that nothing tells of is found after this at the latest. */
const RESYNC_MS = 5000;

export class SimServer {
  readonly apps = new Map<AppId, AppVersion>();
  readonly instances = new Map<InstanceId, Instance>();
  readonly deployments = new Map<DeploymentId, Deployment>();
  readonly statuses = new Map<InstanceId, InstanceStatus>();
  problems: readonly Problem[] = [];
  readonly #versions = new Map<string, AppVersion>();
  readonly #backoffs = new Map<AppId, BackoffState>();
  readonly #hosts = new Map<HostId, Host>();
  readonly #sessions = new Map<HostId, Session>();
  readonly #liveness = new Liveness();
  readonly #options: SimServerOptions;
  readonly #stop = new AbortController();
  #nap = new AbortController();
  #poked = false;
  #catalogRevision = 1;
  readonly #epoch: string;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: SimServerOptions) {
    this.#options = options;
    this.#epoch = options.random.uuid();
    options.store.watch(({ writes }) => {
      for (const write of writes) this.#absorb(write.key, write.kind === "put" ? write.value : null);
      this.#sendAssignments();
      this.poke();
    });
  }

  static async start(options: SimServerOptions): Promise<SimServer> {
    const server = new SimServer(options);
    for (const { key, value } of await options.store.list("")) server.#absorb(key, value);
    const stopListening = options.transport.listen("server", (stream) => server.#accept(stream));
    const { signal } = server.#stop;
    signal.addEventListener("abort", stopListening, { once: true });
    const fail = (error: unknown): void => options.clock.fail(error);
    server.#rollout(signal).catch(fail);
    server.#watchHosts(signal).catch(fail);
    return server;
  }

  /** The process ends; the store keeps what was committed. */
  crash(): void {
    this.#stop.abort();
    this.#nap.abort();
    this.#options.transport.crash("server");
  }

  poke(): void {
    this.#poked = true;
    this.#nap.abort();
  }

  change(changes: readonly AppChange[], force: boolean): Promise<PlannedChange> {
    return this.#inTurn(() => {
      const { clock, random } = this.#options;
      return this.#storeChange(
        planChange({
          apps: this.apps,
          deployments: [...this.deployments.values()],
          changes,
          force,
          nowMs: clock.nowMs(),
          uuid: random.uuid(),
          versionOf: this.#versionOf,
        }),
      );
    });
  }

  /** Null when the deployment was dropped, or had ended meanwhile. */
  cancel(id: DeploymentId, force: boolean): Promise<PlannedChange | null> {
    return this.#inTurn(async () => {
      const { clock, random } = this.#options;
      const deployment = this.deployments.get(id);
      if (deployment === undefined) return null;
      if (force) {
        await this.#commit([{ kind: "delete", key: `deployment/${id}` }]);
        return null;
      }
      const originals = new Map<AppId, AppVersion>();
      for (const [app, version] of Object.entries(deployment.original)) {
        const found = version === null ? null : this.#versionOf(app as AppId, version);
        if (found !== null) originals.set(app as AppId, found);
      }
      const input = { apps: this.apps, deployments: [...this.deployments.values()], deployment, originals };
      return this.#storeChange(planCancel({ ...input, nowMs: clock.nowMs(), uuid: random.uuid() }));
    });
  }

  async #storeChange(planned: PlannedChange): Promise<PlannedChange> {
    const { puts, deletes, deployment, cancelled } = planned;
    await this.#commit([
      ...puts.flatMap((app): StoreWrite[] => [
        { kind: "put", key: `app/${app.spec.id}`, value: app },
        { kind: "put", key: `version/${app.spec.id}@${app.version}`, value: app },
      ]),
      ...deletes.map((id): StoreWrite => ({ kind: "delete", key: `app/${id}` })),
      ...cancelled.map((id): StoreWrite => ({ kind: "delete", key: `deployment/${id}` })),
      { kind: "put", key: `deployment/${deployment.id}`, value: deployment },
    ]);
    return planned;
  }

  async #rollout(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      this.#poked = false;
      this.#nap = new AbortController();
      // In turn with changes: an advance planned before a cancellation must not bring its deployment back.
      const wakeMs = await this.#inTurn(() => this.#pass());
      if (this.#poked || signal.aborted) continue;
      const restMs = wakeMs === null ? RESYNC_MS : Math.max(1, wakeMs - clock.nowMs());
      await clock.sleep(Math.min(RESYNC_MS, restMs), this.#nap.signal);
    }
  }

  async #pass(): Promise<number | null> {
    const { clock, random, onPass } = this.#options;
    const input: RolloutInput = {
      apps: new Map(this.apps),
      deployments: [...this.deployments.values()],
      instances: new Map(this.instances),
      statuses: new Map(this.statuses),
      hosts: hostLoads({
        hosts: this.#hosts.values(),
        presenceOf: (id) => this.#liveness.presenceOf(id),
        instances: this.instances.values(),
        specOf: (instance) => this.#specOf(instance),
      }),
      backoffs: new Map(this.#backoffs),
      nowMs: clock.nowMs(),
      drainedBy: (revision) => [...this.#sessions.values()].every(({ applied }) => applied >= revision),
      versionOf: this.#versionOf,
      newUuid: () => random.uuid(),
    };
    const plan = planRollout(input);
    onPass(input, plan);
    this.problems = plan.problems;
    await this.#commit(plan.actions.flatMap((action) => this.#writesOf(action)));
    return plan.nextWakeMs;
  }

  #writesOf(action: RolloutAction): StoreWrite[] {
    switch (action.kind) {
      case "create-instance":
        return [{ kind: "put", key: `instance/${action.instance.id}`, value: action.instance }];
      case "drain-instance": {
        this.#catalogRevision += 1;
        const draining = { drainRevision: this.#catalogRevision, drainSinceMs: this.#options.clock.nowMs() };
        return this.#changeInstance(action.id, { goal: "draining", ...draining });
      }
      case "stop-instance":
        return this.#changeInstance(action.id, { goal: "stopped" });
      case "forget-instance":
        return [{ kind: "delete", key: `instance/${action.id}` }];
      case "record-failure":
        return [{ kind: "put", key: `failure/${action.failure.appId}`, value: action.failure }];
      case "set-backoff":
        return [{ kind: "put", key: `backoff/${action.state.appId}`, value: action.state }];
      case "clear-backoff":
        return [{ kind: "delete", key: `backoff/${action.appId}` }];
      case "advance-deployment": {
        const deployment = this.deployments.get(action.id);
        if (deployment === undefined) return [];
        return [{ kind: "put", key: `deployment/${action.id}`, value: { ...deployment, currentStep: action.step } }];
      }
      case "finish-deployment":
        return [{ kind: "delete", key: `deployment/${action.id}` }];
    }
  }

  #changeInstance(id: InstanceId, change: Partial<Instance>): StoreWrite[] {
    const instance = this.instances.get(id);
    return instance === undefined ? [] : [{ kind: "put", key: `instance/${id}`, value: { ...instance, ...change } }];
  }

  async #watchHosts(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(LIVENESS_TICK_MS, signal);
      if (this.#liveness.tick(clock.nowMs()).length > 0) this.poke();
    }
  }

  #accept(stream: FrameStream): void {
    const id = stream.peer as HostId;
    const session: Session = { stream, sent: new Map(), applied: 0 };
    this.#sessions.get(id)?.stream.close();
    stream.onClose = () => {
      if (this.#sessions.get(id) === session) this.#sessions.delete(id);
    };
    stream.onFrame = (frame) => {
      const message = parseAgentMessage(frame);
      if (message !== null && !this.#stop.signal.aborted) this.#receive(id, session, message);
    };
  }

  #receive(id: HostId, session: Session, message: AgentMessage): void {
    if (message.type === "hello") {
      this.#sessions.set(id, session);
      const settings = DEFAULT_SETTINGS;
      this.#send(session, {
        type: "welcome",
        wire: WIRE_VERSION,
        hostId: id,
        hostName: id,
        settings,
        blocks: [],
        epoch: this.#epoch,
      });
      this.#sendCatalog(session);
      this.#sendTo(id, session, true);
    } else if (message.type === "heartbeat") {
      session.applied = message.epoch === this.#epoch ? message.appliedRevision : 0;
    } else if (message.type === "instances") {
      const known = [...this.instances.values()].filter(({ hostId }) => hostId === id);
      if (message.reset) for (const instance of known) this.statuses.delete(instance.id);
      for (const each of message.remove) this.statuses.delete(each);
      for (const { id: each, status } of message.upsert) {
        if (this.instances.get(each)?.hostId === id) this.statuses.set(each, status);
      }
    }
    this.#liveness.heard(id, this.#options.clock.nowMs());
    this.poke();
  }

  #sendAssignments(): void {
    for (const [id, session] of this.#sessions) {
      this.#sendTo(id, session, false);
      this.#sendCatalog(session);
    }
  }

  #sendCatalog(session: Session): void {
    const revision = this.#catalogRevision;
    this.#send(session, { type: "catalog", reset: false, revision, upsert: [], remove: [], hosts: null });
  }

  #sendTo(id: HostId, session: Session, reset: boolean): void {
    const wanted = new Map<InstanceId, Assignment>();
    for (const instance of this.instances.values()) {
      const spec = instance.hostId === id ? this.#specOf(instance) : null;
      if (spec !== null) wanted.set(instance.id, { instance, spec });
    }
    if (reset) session.sent.clear();
    const upsert = [...wanted.values()].filter(({ instance }) => session.sent.get(instance.id)?.instance !== instance);
    const remove = [...session.sent.keys()].filter((each) => !wanted.has(each));
    for (const each of remove) session.sent.delete(each);
    for (const assignment of upsert) session.sent.set(assignment.instance.id, assignment);
    if (reset || upsert.length > 0 || remove.length > 0) {
      this.#send(session, { type: "assignments", reset, upsert, remove });
    }
  }

  #send({ stream }: Session, message: ServerMessage): void {
    stream.send(JSON.stringify(message));
  }

  readonly #versionOf = (id: AppId, version: Version): AppVersion | null =>
    this.#versions.get(`${id}@${version}`) ?? null;

  #specOf(instance: Instance): AppSpec | null {
    return this.#versionOf(instance.appId, instance.version)?.spec ?? null;
  }

  #absorb(key: string, value: unknown): void {
    const kind = key.slice(0, key.indexOf("/"));
    const id = key.slice(kind.length + 1);
    const into = <K extends string, V>(map: Map<K, V>): void => {
      if (value === null) map.delete(id as K);
      else map.set(id as K, value as V);
    };
    if (kind === "app") into(this.apps);
    else if (kind === "version") into(this.#versions);
    else if (kind === "instance") into(this.instances);
    else if (kind === "deployment") into(this.deployments);
    else if (kind === "backoff") into(this.#backoffs);
    else if (kind === "host") {
      into(this.#hosts);
      this.#liveness.add(id as HostId, this.#options.clock.nowMs());
    }
    if (kind === "instance" && value === null) this.statuses.delete(id as InstanceId);
  }

  async #commit(writes: readonly StoreWrite[]): Promise<void> {
    if (writes.length === 0 || this.#stop.signal.aborted) return;
    await this.#options.store.commit(writes).catch((error: unknown) => {
      // The process ended in mid-commit.
      if (!(error instanceof AppError) || !this.#stop.signal.aborted) throw error;
    });
  }

  #inTurn<T>(task: () => T | Promise<T>): Promise<T> {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
