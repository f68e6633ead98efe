/**
 * A host with an agent of the simulator's own: it starts and stops what it is assigned, takes time for it, and fails as
 * the seed wants. Its containers run on without the server; a crash ends them, its disk keeps the assignments.
 */
import type { HostId, InstanceId } from "../model/ids.ts";
import type { Assignment, InstanceHealth, InstanceStatus } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import { HEARTBEAT_INTERVAL_MS, WIRE_VERSION, WIRE_VERSION_MIN } from "../model/wire.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import type { HostResources } from "../model/host.ts";
import type { FakeTransport, FrameStream } from "./fake-transport.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import { parseServerMessage } from "../model/parse-message.ts";

/** How often things go wrong, drawn from the seed and set to nothing when the cluster is healed. */
export interface Faults {
  /** Probability that a container does not start. */
  startFailure: number;
  /** Longest time from assignment to running. */
  startMsMax: number;
}

export interface SimHostOptions {
  readonly name: string;
  readonly resources: HostResources;
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly transport: FakeTransport;
  readonly faults: Faults;
}

/** Definitions say in their environment how they misbehave: that is what a bad release does. */
export type Misbehaviour = "no-start" | "never-healthy";

const RECONNECT_MS = 500;
const APPLY_MS_MAX = 60;

export class SimHost {
  readonly id: HostId;
  readonly name: string;
  readonly resources: HostResources;
  readonly #options: SimHostOptions;
  /** The disk. */
  readonly #assignments = new Map<InstanceId, Assignment>();
  /** Ends with a crash. */
  readonly #statuses = new Map<InstanceId, InstanceStatus>();
  #stream: FrameStream | null = null;
  /** Grows with every boot; what was begun in an earlier life does nothing. */
  #life = 0;
  #up = false;
  #revision = 0;
  #epoch = "";
  #containers = 0;

  constructor(options: SimHostOptions) {
    this.id = options.name as HostId;
    this.name = options.name;
    this.resources = options.resources;
    this.#options = options;
  }

  get up(): boolean {
    return this.#up;
  }

  /** What runs here, by instance. */
  statuses(): ReadonlyMap<InstanceId, InstanceStatus> {
    return this.#statuses;
  }

  boot(): void {
    if (this.#up) return;
    this.#up = true;
    this.#life += 1;
    for (const assignment of this.#assignments.values()) this.#follow(assignment);
    this.#spawn(() => this.#connect());
    this.#heartbeat();
  }

  crash(): void {
    this.#up = false;
    this.#life += 1;
    this.#statuses.clear();
    this.#stream = null;
    this.#options.transport.crash(this.name);
  }

  /** A running container ends by itself. */
  killContainer(id: InstanceId): void {
    if (this.#statuses.get(id)?.phase !== "running") return;
    const reason = "the process ended";
    this.#report(id, { phase: "failed", reason, exitCode: 1, atMs: this.#options.clock.nowMs() });
  }

  /** Checks begin to fail, or to succeed again. */
  setHealth(id: InstanceId, health: InstanceHealth): void {
    const status = this.#statuses.get(id);
    if (status?.phase !== "running" || status.health === "none") return;
    this.#report(id, { ...status, health, condemned: false });
    if (health !== "unhealthy") return;
    this.#later(3000, () => {
      const now = this.#statuses.get(id);
      if (now?.phase === "running" && now.health === "unhealthy") this.#report(id, { ...now, condemned: true });
    });
  }

  async #connect(): Promise<void> {
    const { transport, clock } = this.#options;
    const life = this.#life;
    while (this.#up && this.#life === life) {
      const stream = await transport.connect(this.name, "server").catch(() => null);
      if (this.#life !== life) return stream?.close();
      if (stream === null) {
        await clock.sleep(RECONNECT_MS);
        continue;
      }
      this.#stream = stream;
      await new Promise<void>((resolve) => {
        stream.onClose = resolve;
        stream.onFrame = (frame) => {
          const message = parseServerMessage(frame);
          if (message !== null && this.#life === life) this.#receive(message);
        };
        this.#hello();
      });
      if (this.#stream === stream) this.#stream = null;
      await clock.sleep(RECONNECT_MS);
    }
  }

  #hello(): void {
    const resources = this.resources;
    const wire = { wireMin: WIRE_VERSION_MIN, wireMax: WIRE_VERSION };
    this.#send({ type: "hello", ...wire, agentVersion: "sim", address: "192.0.2.1", resources, labels: {} });
    const upsert = [...this.#statuses].map(([id, status]) => ({ id, status }));
    this.#send({ type: "instances", reset: true, upsert, remove: [] });
  }

  #heartbeat(): void {
    this.#send({ type: "heartbeat", appliedRevision: this.#revision, epoch: this.#epoch, conditions: [] });
    this.#later(HEARTBEAT_INTERVAL_MS, () => this.#heartbeat());
  }

  #receive(message: ServerMessage): void {
    if (message.type === "welcome") {
      if (this.#epoch !== message.epoch) this.#revision = 0;
      this.#epoch = message.epoch;
    } else if (message.type === "catalog") {
      // DNS and ingress take a moment.
      this.#later(this.#options.random.next() * APPLY_MS_MAX, () => {
        this.#revision = Math.max(this.#revision, message.revision);
      });
    } else if (message.type === "assignments") this.#assign(message);
  }

  #assign({ reset, upsert, remove }: ServerMessage & { type: "assignments" }): void {
    const kept = new Set(upsert.map(({ instance }) => instance.id));
    const gone = reset ? [...this.#assignments.keys(), ...this.#statuses.keys()].filter((id) => !kept.has(id)) : remove;
    for (const id of gone) {
      this.#assignments.delete(id);
      this.#statuses.delete(id);
      this.#send({ type: "instances", reset: false, upsert: [], remove: [id] });
    }
    for (const assignment of upsert) {
      this.#assignments.set(assignment.instance.id, assignment);
      this.#follow(assignment);
    }
  }

  #follow({ instance, spec }: Assignment): void {
    const { clock, random, faults } = this.#options;
    const status = this.#statuses.get(instance.id);
    if (instance.goal === "stopped") {
      if (status?.phase === "stopping" || status?.phase === "gone") return;
      if (status?.phase !== "running") return this.#report(instance.id, { phase: "gone" });
      this.#report(instance.id, { phase: "stopping", sinceMs: clock.nowMs() });
      this.#later(random.next() * spec.stopGraceMs, () => this.#report(instance.id, { phase: "gone" }));
      return;
    }
    if (status !== undefined) return;
    this.#report(instance.id, { phase: "staging", step: "creating", sinceMs: clock.nowMs() });
    this.#later(20 + random.next() * faults.startMsMax, () => {
      if (this.#statuses.get(instance.id)?.phase !== "staging") return;
      const fails = spec.env["MISBEHAVE"] === "no-start" || random.chance(faults.startFailure);
      if (fails) {
        this.#report(instance.id, { phase: "failed", reason: "it did not start", exitCode: 127, atMs: clock.nowMs() });
      } else this.#run({ instance, spec });
    });
  }

  #run({ instance, spec }: Assignment): void {
    const { clock, random } = this.#options;
    this.#containers += 1;
    const checked = spec.healthChecks.length > 0;
    this.#report(instance.id, {
      phase: "running",
      containerId: `${this.name}-${this.#containers}`,
      address: parseIpv4(`10.2.${this.name.slice(1)}.${2 + (this.#containers % 250)}`),
      startedAtMs: clock.nowMs(),
      health: checked ? "unknown" : "none",
      checks: [],
      condemned: false,
    });
    if (!checked) return;
    const good = spec.env["MISBEHAVE"] !== "never-healthy";
    this.#later(100 + random.next() * 1000, () => this.setHealth(instance.id, good ? "healthy" : "unhealthy"));
  }

  #report(id: InstanceId, status: InstanceStatus): void {
    // A removed instance has nothing to say any more.
    if (!this.#assignments.has(id)) return;
    this.#statuses.set(id, status);
    this.#send({ type: "instances", reset: false, upsert: [{ id, status }], remove: [] });
  }

  #send(message: AgentMessage): void {
    this.#stream?.send(JSON.stringify(message));
  }

  #later(ms: number, run: () => void): void {
    const life = this.#life;
    this.#options.clock.after(ms, () => {
      if (this.#life === life) run();
    });
  }

  #spawn(task: () => Promise<void>): void {
    // An error here is the simulator's own and must end the run.
    task().catch((error: unknown) => this.#options.clock.fail(error));
  }
}
