/** What the native API asks of the server, besides the apps. The server implements it; the handler only reads and renders. */
import type { JoinRequest } from "../../cluster/join.ts";
import type { AppSpec } from "../../model/app.ts";
import type { HostId, InstanceId } from "../../model/ids.ts";
import type { NetworkObject, NetworkObjectKind } from "../../model/network-config.ts";
import type { DnsCounts } from "../../model/wire.ts";
import type { DoctorReport } from "../../network/doctor/doctor-facts.ts";
import type { TraceQuestion, TraceReport } from "../../network/trace/trace-facts.ts";
import type { HttpRequest, HttpUpgrade } from "../../platform/ports/http.ts";
import type { DnsJson, HostJson, JoinResponse, LinkJson, ServiceJson, StatusJson } from "./shapes.ts";

export interface NativeServices {
  readonly version: string;
  /** PEM text of the CA certificate. */
  readonly ca: string;
  /** Sorted by name. */
  hosts(): readonly HostJson[];
  /** @throws AppError `not-found`. */
  setCordoned(name: string, cordoned: boolean): Promise<HostJson>;
  /** @throws AppError `not-found`, or `conflict` while it is up and not `force`. */
  removeHost(name: string, options: { readonly force: boolean }): Promise<void>;
  status(): StatusJson;
  /** Sorted by name. */
  services(): readonly ServiceJson[];
  /** Name in the catalog under which an app's instances are registered; null when it has none. */
  serviceOf(spec: AppSpec): string | null;
  /** What the hosts' DNS answers; `type` is upper case. @throws AppError `invalid` for a type that is not supported. */
  dns(name: string, type: string): Promise<DnsJson>;
  readonly network: NetworkObjects;
  /** What the host's agent answers. @throws AppError of the agent, `not-found`, `unavailable` when it is not connected or too slow. */
  ask(hostName: string, question: unknown): Promise<unknown>;
  /** Walks a connection; starts at the host `here` when FROM is not given. @throws AppError `not-found`, `invalid`, `unavailable`. */
  trace(question: TraceQuestion & { readonly here: string | null }): Promise<TraceReport>;
  /** Asks all hosts, or one and its pairs, about themselves and each other. @throws AppError `not-found`. */
  doctor(host: string | null): Promise<DoctorReport>;
  /** What hosts that are up last said, sorted by host and peer. */
  links(): readonly LinkJson[];
  /** DNS questions of containers and hosts, by the name of the host. */
  dnsCounts(): ReadonlyMap<string, DnsCounts>;
  joinToken(): string;
  /** @throws AppError `conflict`, `unavailable`: see `joinHost`. */
  join(request: JoinRequest): Promise<JoinResponse>;
  /** A host's own wish: forgets it as `removeHost` does, though its agent was there a moment ago. Its name. */
  leave(hostId: HostId): Promise<string>;
  /** @throws AppError `denied` when it is not the admin token. */
  openSession(token: string): { readonly value: string; readonly maxAgeS: number };
  readonly sockets: NativeSockets;
}

/** What is declared about the network. */
export interface NetworkObjects {
  /** Sorted by name. */
  list<Kind extends NetworkObjectKind>(kind: Kind): readonly NetworkObject<Kind>[];
  /** Makes or replaces it. @throws AppError `invalid` for a faulty one, `conflict` for one that others stand against. */
  put(kind: NetworkObjectKind, name: string, value: unknown): Promise<NetworkObject>;
  /** @throws AppError `not-found`, or `conflict` while something uses it. */
  remove(kind: NetworkObjectKind, name: string): Promise<void>;
}

/** The WebSockets; by the time these are called, access was granted. Each gives what opens the socket or throws AppError. */
export interface NativeSockets {
  feed(request: HttpRequest): HttpUpgrade;
  agent(request: HttpRequest, hostId: HostId): HttpUpgrade;
  logs(instanceId: InstanceId, options: LogsOptions): HttpUpgrade;
  exec(instanceId: InstanceId, options: ExecOptions): HttpUpgrade;
}

export interface LogsOptions {
  readonly follow: boolean;
  /** Lines from the end, null for all. */
  readonly tail: number | null;
}

export interface ExecOptions {
  readonly argv: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
}
