import type { AppVersion } from "../model/app.ts";
import type { LastFailure, Problem } from "../model/deployment.ts";
import type { AppId, DeploymentId, HostId, InstanceId } from "../model/ids.ts";
import { instanceIdFor } from "../model/ids.ts";
import type { Instance } from "../model/instance.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { BackoffState } from "./backoff.ts";
import type { HostLoad } from "./host-load.ts";
import { Placer } from "./placement.ts";
import type { Placement, PlacementRequest } from "./placement.ts";

/** One change of stored state. What it means for hosts follows from the records. */
export type RolloutAction =
  | { readonly kind: "create-instance"; readonly instance: Instance }
  /** Take it out of the catalog, then set goal `draining` with the revision that has it out and the time. */
  | { readonly kind: "drain-instance"; readonly id: InstanceId; readonly reason: string }
  /** Set goal `stopped`. */
  | { readonly kind: "stop-instance"; readonly id: InstanceId; readonly reason: string }
  /** Remove the record; a host that still has a container of it removes that. */
  | { readonly kind: "forget-instance"; readonly id: InstanceId; readonly reason: string }
  | { readonly kind: "record-failure"; readonly failure: LastFailure }
  | { readonly kind: "set-backoff"; readonly state: BackoffState }
  | { readonly kind: "clear-backoff"; readonly appId: AppId }
  /** `step` is the new index into the deployment's steps. */
  | { readonly kind: "advance-deployment"; readonly id: DeploymentId; readonly step: number }
  /** Everything the deployment wanted is there: remove it. */
  | { readonly kind: "finish-deployment"; readonly id: DeploymentId };

export interface RolloutPassOptions {
  readonly nowMs: number;
  readonly hosts: readonly HostLoad[];
  /** Whether every live host has applied a catalog revision. */
  readonly drainedBy: (revision: number) => boolean;
  readonly newUuid: () => string;
}

/** What one pass has decided so far. */
export class RolloutPass {
  readonly nowMs: number;
  readonly drainedBy: (revision: number) => boolean;
  readonly actions: RolloutAction[] = [];
  readonly problems: Problem[] = [];
  nextWakeMs: number | null = null;
  readonly #options: RolloutPassOptions;
  /** Most passes place nothing: the hosts' room is added up when the first instance asks for it. */
  #placer: Placer | null = null;

  constructor(options: RolloutPassOptions) {
    this.nowMs = options.nowMs;
    this.drainedBy = options.drainedBy;
    this.#options = options;
  }

  /** Asks for another pass at that time, should nothing else cause one earlier. */
  wakeAt(ms: number): void {
    if (this.nextWakeMs === null || ms < this.nextWakeMs) this.nextWakeMs = ms;
  }

  place(request: PlacementRequest): Placement {
    this.#placer ??= new Placer(this.#options.hosts);
    return this.#placer.place(request);
  }

  create(app: AppVersion, hostId: HostId, address?: Ipv4): void {
    const id = instanceIdFor(app.spec.id, this.#options.newUuid());
    this.actions.push({
      kind: "create-instance",
      instance: {
        id,
        appId: app.spec.id,
        version: app.lastConfigChangeAt,
        hostId,
        createdAtMs: this.nowMs,
        goal: "running",
        ...(address === undefined ? {} : { address }),
      },
    });
  }
}
