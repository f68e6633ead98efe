import type { HostCheck, HostCheckResult } from "../model/host-check.ts";
import type { InstanceId } from "../model/ids.ts";
import type { CheckResult, InstanceHealth, InstanceStatus } from "../model/instance.ts";
import type { Condition } from "../model/wire.ts";
import { NetworkState } from "./network-state.ts";
import { sameData } from "./same-data.ts";

/** What the health part found out about an instance's container. */
export interface HealthRecord {
  readonly instanceId: InstanceId;
  /** Results of another container of the same instance say nothing about this one. */
  readonly containerId: string;
  readonly health: InstanceHealth;
  readonly checks: readonly CheckResult[];
  readonly condemned: boolean;
}

/** What this host sees of its instances and checks, and what an operator is to know of it. */
export class ObservedState extends NetworkState {
  /** By instance: what this host observes of its assignments. Written by the containers part. */
  readonly reports = new Map<InstanceId, InstanceStatus>();
  /** The containers part has seen this host's containers: before that, missing reports mean nothing. */
  reportsKnown = false;
  /** By id: what those of them say that were tried. Written by the checks part. */
  readonly checkResults = new Map<string, HostCheckResult>();
  /** By id: checks that containers of this host declare. Written by the registration part. */
  containerChecks: ReadonlyMap<string, HostCheck> = new Map();
  /** Hear what clients say of those with a time to live. */
  readonly checkReporters = new Set<(result: HostCheckResult) => void>();
  /** What those say. Written by the checks part. */
  readonly containerResults = new Map<string, HostCheckResult>();
  /** Written by the health part. */
  readonly health = new Map<InstanceId, HealthRecord>();
  readonly #conditions = new Map<string, readonly Condition[]>();

  setReport(id: InstanceId, status: InstanceStatus | null): void {
    if (status === null) this.reports.delete(id);
    else this.reports.set(id, status);
    this.emit("reports");
  }

  setReportsKnown(): void {
    if (this.reportsKnown) return;
    this.reportsKnown = true;
    this.emit("reports");
  }

  setHealth(id: InstanceId, record: HealthRecord | null): void {
    if (record === null) this.health.delete(id);
    else this.health.set(id, record);
    this.emit("health");
  }

  /** Null: the check is gone, or another one is under its name now. */
  setCheckResult(id: string, result: HostCheckResult | null): void {
    if (result === null) this.checkResults.delete(id);
    else this.checkResults.set(id, result);
    this.emit("check-results");
  }

  setContainerChecks(checks: readonly HostCheck[]): void {
    if (sameData([...this.containerChecks.values()], checks)) return;
    this.containerChecks = new Map(checks.map((check) => [check.id, check]));
    this.emit("container-checks");
  }

  setContainerResult(id: string, result: HostCheckResult | null): void {
    if (result === null) this.containerResults.delete(id);
    else this.containerResults.set(id, result);
    this.emit("container-results");
  }

  /** Each part owns the conditions of its name; [] clears them. */
  setConditions(part: string, conditions: readonly Condition[]): void {
    this.#conditions.set(part, conditions);
    this.emit("conditions");
  }

  conditions(): readonly Condition[] {
    return [...this.#conditions.keys()].toSorted().flatMap((part) => this.#conditions.get(part) ?? []);
  }
}
