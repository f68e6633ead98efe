/**
 * Shapes of Apollo's own API, as JSON. Errors are `{"error": {code, message, hint, fields, details}}` with the status of
 * `HTTP_STATUS`. Lists are sorted. Unknown paths are 404, other verbs 405.
 *
 *   GET    /api/info                          Info (no token needed: only name, version)
 *   GET    /api/ca                            PEM text (no token needed; the join token pins its hash)
 *   POST   /api/join                          JoinRequest → JoinResponse (join secret as bearer token)
 *   POST   /api/leave                         {left: NAME} (host credential as bearer token); its instances are replaced
 *   POST   /api/session                       {token} → 204 + cookie for the console;  DELETE ends it
 *   GET    /api/status                        Status
 *   GET    /api/join-token                    {token}
 *   GET    /api/hosts                         HostJson[]
 *   GET    /api/hosts/NAME                    HostJson
 *   POST   /api/hosts/NAME/cordon|uncordon    HostJson
 *   DELETE /api/hosts/NAME                    204; 409 while it is up and not `?force=true`
 *   GET    /api/apps                          AppJson[]
 *   POST   /api/apps                          Marathon's app form → DeploymentRefJson (201)
 *   GET    /api/apps/ID                       AppJson;  ID is URI-encoded without its leading slash
 *   PUT    /api/apps/ID[?force=true]          Marathon's app form, merged over what is there → DeploymentRefJson
 *   DELETE /api/apps/ID[?force=true]          DeploymentRefJson
 *   POST   /api/apps/ID/scale                 {instances} → DeploymentRefJson
 *   POST   /api/apps/ID/restart               DeploymentRefJson
 *   POST   /api/apps/ID/rollback              {version?} (default: the one before) → DeploymentRefJson
 *   GET    /api/apps/ID/versions              VersionJson[], newest first
 *   GET    /api/apps/ID/why                   WhyJson
 *   GET    /api/deployments                   DeploymentJson[]
 *   DELETE /api/deployments/ID[?force=true]   DeploymentRefJson | 202
 *   GET    /api/instances[?app=ID]            InstanceJson[]
 *   GET    /api/instances/ID                  InstanceJson
 *   DELETE /api/instances/ID                  204: stopped and replaced
 *   GET    /api/services                      ServiceJson[]
 *   GET    /api/dns?name=N&type=A             DnsJson
 *   GET    /api/links[?host=NAME]             LinkJson[], by host and peer
 *   POST   /api/trace {from,to,port,protocol,here}      TraceReport: where a connection breaks
 *   POST   /api/doctor[?host=NAME]             DoctorReport: all hosts and their pairs, or those of one
 *   GET    /api/metrics                       text in Prometheus' exposition format
 *   WS     /api/instances/ID/logs?follow=&tail=         binary frames: 1 stdout, 2 stderr, 3 end (JSON {exitCode,error})
 *   WS     /api/instances/ID/exec?argv=JSON&tty=&stdin=   as above; client sends 0 input, 1 end of input, 2 resize JSON
 *   WS     /api/feed                          FeedMessage frames for the console
 *   WS     /api/agent                         agents only, see model/wire.ts
 */
import type { NetworkBlocks } from "../../model/lease.ts";
import type { LinkReport } from "../../model/link.ts";
import type { Condition } from "../../model/wire.ts";
import type { AppExplanation } from "../../scheduling/explain-app.ts";

export interface ErrorJson {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint?: string;
    readonly fields?: readonly { readonly path: string; readonly message: string }[];
    readonly details?: Readonly<Record<string, unknown>>;
  };
}

export interface InfoJson {
  readonly name: "apollo";
  readonly version: string;
}

export interface JoinRequest {
  readonly name: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: { readonly cpus: number; readonly memoryMiB: number; readonly diskMiB: number };
  /** Ranges of the host's own routes, so that a clash is refused before anything is set up. */
  readonly hostRanges: readonly string[];
  /** Of an earlier join under this name: the same machine comes again, and keeps its id and block. */
  readonly credential?: string;
}

export interface JoinResponse {
  readonly hostId: string;
  readonly credential: string;
  readonly block: string;
}

export interface HostJson {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly phase: "joining" | "up" | "down";
  readonly cordoned: boolean;
  readonly blocks: readonly string[];
  /** Blocks of declared networks, by network; missing when it has none. */
  readonly networks?: NetworkBlocks;
  readonly cpus: { readonly total: number; readonly used: number };
  readonly memoryMiB: { readonly total: number; readonly used: number };
  readonly instances: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly agentVersion: string | null;
  readonly lastSeenMs: number | null;
  readonly joinedAtMs: number;
  readonly conditions: readonly Condition[];
}

export interface AppJson {
  readonly id: string;
  /** A declared network; missing for the default one and the host's own. */
  readonly network?: string;
  readonly image: string;
  /** Wanted. */
  readonly instances: number;
  readonly running: number;
  readonly healthy: number;
  readonly unhealthy: number;
  readonly staging: number;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly service: string | null;
  readonly version: string;
  /** Marathon's rule: deploying, suspended, delayed, waiting or running. */
  readonly status: "deploying" | "suspended" | "delayed" | "waiting" | "running";
  readonly deployments: readonly string[];
  readonly problem: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

export interface InstanceJson {
  readonly id: string;
  readonly app: string;
  readonly version: string;
  readonly current: boolean;
  readonly host: string;
  readonly goal: "running" | "draining" | "stopped";
  readonly phase: "assigned" | "staging" | "running" | "stopping" | "failed" | "gone" | "lost";
  readonly health: "none" | "unknown" | "healthy" | "unhealthy";
  readonly address: string | null;
  readonly ports: readonly number[];
  readonly startedAtMs: number | null;
  readonly message: string | null;
}

export interface EndpointJson {
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: string;
  readonly tags: readonly string[];
  readonly host: string;
  readonly container: string;
  readonly instance: string | null;
  readonly health: "passing" | "warning" | "critical";
}

export interface ServiceJson {
  readonly name: string;
  readonly tags: readonly string[];
  readonly endpoints: readonly EndpointJson[];
  /** Outside names that lead here. */
  readonly routes: readonly string[];
}

export interface DeploymentJson {
  readonly id: string;
  readonly version: string;
  readonly apps: readonly string[];
  readonly step: number;
  readonly steps: number;
  readonly actions: readonly { readonly action: string; readonly app: string }[];
  readonly startedAtMs: number;
}

export interface DeploymentRefJson {
  readonly version: string;
  readonly deploymentId: string;
}

export interface VersionJson {
  readonly version: string;
  readonly image: string;
  readonly instances: number;
  readonly current: boolean;
}

export type WhyJson = AppExplanation;

export interface DnsJson {
  readonly name: string;
  readonly type: string;
  readonly code: "NOERROR" | "NXDOMAIN" | "FORWARDED";
  readonly answers: readonly {
    readonly name: string;
    readonly type: string;
    readonly ttl: number;
    readonly data: string;
  }[];
  /** Endpoints of that name which are left out, and why. */
  readonly excluded: readonly { readonly endpoint: string; readonly reason: string }[];
}

/** The path from one host to another, as the first of them measures it. */
export interface LinkJson extends Omit<LinkReport, "peerId"> {
  readonly host: string;
}

export interface StatusJson {
  readonly version: string;
  readonly uptimeMs: number;
  readonly hosts: { readonly up: number; readonly total: number };
  readonly apps: number;
  readonly instances: { readonly wanted: number; readonly running: number; readonly healthy: number };
  readonly services: number;
  readonly deployments: number;
  readonly settings: {
    readonly range: string;
    /** Of containers' IPv6 addresses; null for none. */
    readonly range6?: string | null;
    /** Of services' own addresses. */
    readonly virtualRange: string;
    readonly blockPrefix: number;
    readonly dnsDomain: string;
    readonly ingressDomain: string;
  };
  readonly conditions: readonly (Condition & { readonly host: string | null })[];
}

/** What the console shows, by kind; `snapshot` first, then changes. */
export interface FeedState {
  readonly hosts: readonly HostJson[];
  readonly apps: readonly AppJson[];
  readonly instances: readonly InstanceJson[];
  readonly services: readonly ServiceJson[];
  readonly deployments: readonly DeploymentJson[];
}

export type FeedMessage =
  | { readonly type: "snapshot"; readonly sequence: number; readonly state: FeedState }
  | {
      readonly type: "delta";
      readonly sequence: number;
      /** By kind of FeedState: whole objects to put (keyed by id, services and hosts by name) and keys to drop. */
      readonly put: Partial<FeedState>;
      readonly drop: Partial<Record<keyof FeedState, readonly string[]>>;
    };

/** What one host's agent answers to the question "policy-counters". */
export interface PolicyCountersJson {
  readonly host: string;
  /** Packets refused at containers that a rule means, by rule; under "" those refused by a closed network alone. */
  readonly refused: Readonly<Record<string, number>>;
  /** Frames dropped at this host's own containers, by why. */
  readonly spoofed: Readonly<Record<string, number>>;
  /** Of the last hour at most, since the rules last changed; the most first. */
  readonly recent: readonly {
    readonly source: string;
    readonly destination: string;
    readonly protocol: string;
    readonly port: number;
    readonly packets: number;
  }[];
}
