import type { AppId, Version } from "./ids.ts";
import type { Ipv4 } from "./ip.ts";

export type Protocol = "tcp" | "udp";

export interface PortSpec {
  /** Port inside the container, 1-65535. */
  readonly containerPort: number;
  /** Port on the host to publish on, or null for none: on the flat network nothing needs one. 0 asks for any free port. */
  readonly hostPort: number | null;
  /** Cluster-wide unique number that Marathon clients know the port by; 0 until the server assigns one. */
  readonly servicePort: number;
  readonly protocol: Protocol;
  readonly name: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

export interface VolumeSpec {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readOnly: boolean;
}

export interface HealthCheckTiming {
  /** Failures before the first success within this time after start do not count. */
  readonly gracePeriodMs: number;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row after which the instance is replaced; 0 = never. */
  readonly maxConsecutiveFailures: number;
}

export type HealthCheck = HealthCheckTiming &
  (
    | {
        readonly kind: "http" | "https";
        readonly path: string;
        /** Index into `ports`, or null when `port` is given. */
        readonly portIndex: number | null;
        readonly port: number | null;
        readonly ignoreHttp1xx: boolean;
      }
    | { readonly kind: "tcp"; readonly portIndex: number | null; readonly port: number | null }
    | { readonly kind: "command"; readonly argv: readonly string[] }
  );

export interface UpgradeStrategy {
  /** Share of instances, 0 to 1, that stays healthy during a change. */
  readonly minimumHealthCapacity: number;
  /** Share of instances, 0 to 1, that may run beyond the wanted number during a change. */
  readonly maximumOverCapacity: number;
}

export interface Backoff {
  readonly initialMs: number;
  readonly factor: number;
  readonly maxMs: number;
}

export type ConstraintOperator = "UNIQUE" | "CLUSTER" | "GROUP_BY" | "LIKE" | "UNLIKE" | "MAX_PER" | "IS";

export interface Constraint {
  /** `hostname` or a host label. */
  readonly field: string;
  readonly operator: ConstraintOperator;
  readonly value: string | null;
}

/** What a user declares. Immutable: a change makes a new version. All defaults are filled in. */
export interface AppSpec {
  readonly id: AppId;
  readonly instances: number;
  /** Cores, as a share: 0.3. */
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
  readonly image: string;
  readonly forcePull: boolean;
  readonly privileged: boolean;
  /** Replaces the image's command; null keeps it. */
  readonly argv: readonly string[] | null;
  /** True when `argv` came as a Marathon `cmd` string, run by the image's /bin/sh. */
  readonly shell: boolean;
  readonly user: string | null;
  readonly tty: boolean;
  /** `apollo`: own address on the flat network. `host`: the host's own network. Else the name of a declared network. */
  readonly network: string;
  /** Fixed addresses, one for each instance at most; missing or [] lets each host choose. Never shared at the same time. */
  readonly addresses?: readonly Ipv4[];
  readonly ports: readonly PortSpec[];
  readonly volumes: readonly VolumeSpec[];
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly healthChecks: readonly HealthCheck[];
  readonly upgrade: UpgradeStrategy;
  readonly backoff: Backoff;
  readonly constraints: readonly Constraint[];
  readonly dependencies: readonly AppId[];
  readonly killSelection: "YOUNGEST_FIRST" | "OLDEST_FIRST";
  /** Time between SIGTERM and SIGKILL. */
  readonly stopGraceMs: number;
}

/** One immutable definition of an app, as stored. */
export interface AppVersion {
  readonly version: Version;
  readonly spec: AppSpec;
  /** Version of the last change of the instance count alone. */
  readonly lastScalingAt: Version;
  /** Version of the last change of anything else: instances from before it are outdated. */
  readonly lastConfigChangeAt: Version;
}

export const DEFAULT_UPGRADE: UpgradeStrategy = { minimumHealthCapacity: 1, maximumOverCapacity: 1 };
export const DEFAULT_BACKOFF: Backoff = { initialMs: 1000, factor: 1.15, maxMs: 300_000 };
export const DEFAULT_STOP_GRACE_MS = 3000;
export const DEFAULT_CHECK_TIMING: HealthCheckTiming = {
  gracePeriodMs: 300_000,
  intervalMs: 60_000,
  timeoutMs: 20_000,
  maxConsecutiveFailures: 3,
};
