import type { Container } from "../../model/container.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";

export interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  /** Null keeps the image's command. */
  readonly argv: readonly string[] | null;
  /** Null keeps the image's entrypoint, [] clears it. */
  readonly entrypoint: readonly string[] | null;
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly user: string | null;
  readonly tty: boolean;
  readonly privileged: boolean;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly hostname: string | null;
  /** Engine network name, or "host". */
  readonly network: string;
  /** Fixed address on that network; null lets the engine choose. */
  readonly address: Ipv4 | null;
  /** Fixed IPv6 address; null or missing lets the engine choose, on a network that has them. */
  readonly address6?: Ipv6 | null;
  /** Resolvers written into the container; [] keeps the engine's default. */
  readonly dns: readonly Ipv4[];
  readonly dnsSearch: readonly string[];
  readonly exposedPorts: readonly { readonly port: number; readonly protocol: "tcp" | "udp" }[];
  readonly publish: readonly { readonly port: number; readonly protocol: "tcp" | "udp"; readonly hostPort: number }[];
  readonly mounts: readonly { readonly hostPath: string; readonly containerPath: string; readonly readOnly: boolean }[];
  readonly stopGraceMs: number;
  /** The engine restarts it after its own or the host's restart. */
  readonly restart: "no" | "unless-stopped" | "on-failure";
}

export interface EngineNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly subnet: string | null;
  readonly ipRange: string | null;
  readonly gateway: Ipv4 | null;
  /** CIDR text and address of its IPv6 half; null or missing when it has none. */
  readonly ip6?: { readonly subnet: string; readonly gateway: string | null } | null;
  readonly options: Readonly<Record<string, string>>;
  /** Address of each container attached now, by container id. */
  readonly containers: Readonly<Record<string, Ipv4>>;
}

export interface EngineNetworkSpec {
  readonly name: string;
  readonly subnet: string;
  readonly ipRange: string;
  readonly gateway: Ipv4;
  /** Addresses the engine must not hand out, by a name for each. */
  readonly reserved: Readonly<Record<string, Ipv4>>;
  /** Its IPv6 half; null or missing for none. */
  readonly ip6?: { readonly subnet: string; readonly ipRange: string; readonly gateway: Ipv6 } | null;
  readonly options: Readonly<Record<string, string>>;
  /** Of the network and of its addresses; missing is the engine's own bridge. */
  readonly driver?: string;
  /** For a driver of addresses. */
  readonly ipamOptions?: Readonly<Record<string, string>>;
}

/** `lost`: events may be missing (the stream broke, or has just begun): list again. */
export type EngineEvent =
  | {
      readonly kind: "container";
      readonly action: string;
      readonly id: string;
      /** With `die`. */
      readonly exitCode?: number | null;
      /** With `kill`: the signal that the engine was asked to send, also as part of a stop or its own end. */
      readonly signal?: number | null;
    }
  | { readonly kind: "network"; readonly action: string; readonly id: string }
  | { readonly kind: "lost" };

export interface EngineInfo {
  readonly version: string;
  readonly apiVersion: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Containers outlive the engine's own restart; missing: not known. */
  readonly liveRestore?: boolean;
}

export interface ExecSession {
  write(bytes: Uint8Array): void;
  endInput(): void;
  resize(columns: number, rows: number): Promise<void>;
  /** Resolves with the exit code once all output was delivered. */
  readonly done: Promise<number | null>;
  close(): void;
}

/** Takes output. The engine stops reading while a returned promise is open, so that a slow taker holds the writer back. */
export type OutputSink = (stream: "stdout" | "stderr", bytes: Uint8Array) => void | Promise<void>;

/**
 * The container engine of this host. All calls fail with AppError `unavailable` when it cannot be reached in bounded
 * time (10 s to answer, 60 s for a change of a container, 10 min for a pull), `not-found`, `conflict` (name, address or
 * port taken) or `invalid` (engine refuses the request). `details.object` of the error says which thing: `image`,
 * `container`, `network`, `name`, `address` or `port`.
 */
export interface Engine {
  info(): Promise<EngineInfo>;
  /** All containers, stopped ones too, with env, labels and addresses. */
  listContainers(): Promise<readonly Container[]>;
  /** One container, or null if there is none of that id or name. */
  inspectContainer(idOrName: string): Promise<Container | null>;
  /** Repeatable per name: a second call with the name taken is a `conflict`. Does not pull. Returns the id. */
  createContainer(spec: ContainerSpec): Promise<string>;
  /** Already running is fine. */
  startContainer(id: string): Promise<void>;
  /** SIGTERM, then SIGKILL after `graceMs`. Already stopped or gone is fine. */
  stopContainer(id: string, graceMs: number): Promise<void>;
  /** Forced, with its anonymous volumes. Already gone is fine. */
  removeContainer(id: string): Promise<void>;
  /** What the engine does when the container ends from now on; one that has ended already stays so. */
  setRestart(id: string, restart: ContainerSpec["restart"]): Promise<void>;
  hasImage(image: string): Promise<boolean>;
  /** @throws AppError `not-found` when the registry has no such image. */
  pullImage(image: string, signal?: AbortSignal): Promise<void>;
  listNetworks(): Promise<readonly EngineNetwork[]>;
  createNetwork(spec: EngineNetworkSpec): Promise<string>;
  /** Already gone is fine. @throws AppError `conflict` while containers are attached. */
  removeNetwork(name: string): Promise<void>;
  /** Calls `onEvent` until aborted; says `lost` each time it has connected, the first time too. Never rejects. */
  watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void>;
  /** Output so far and, with `follow`, until the container ends or `signal` aborts. */
  logs(
    id: string,
    options: { readonly follow: boolean; readonly tail: number | null; readonly sinceMs: number | null },
    sink: OutputSink,
    signal: AbortSignal,
  ): Promise<void>;
  exec(
    id: string,
    options: { readonly argv: readonly string[]; readonly tty: boolean; readonly stdin: boolean },
    sink: OutputSink,
  ): Promise<ExecSession>;
}
