import type { Container } from "../../model/container.ts";
import { AppError, describeError } from "../../model/error.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { isIpv4 } from "../../model/ip.ts";
import type {
  ContainerSpec,
  Engine,
  EngineEvent,
  EngineInfo,
  EngineNetwork,
  EngineNetworkSpec,
  ExecSession,
  OutputSink,
} from "../ports/engine.ts";
import type { Clock } from "../ports/clock.ts";
import { DockerClient } from "./docker-client.ts";
import { openExec } from "./docker-exec.ts";
import { pullDockerImage } from "./docker-pull.ts";
import { deliverOutput } from "./docker-output.ts";
import { watchDocker } from "./docker-watch.ts";
import { changeKey, parseContainer } from "./parse-container.ts";
import type { InspectJson, ListEntryJson } from "./parse-container.ts";
import { renderCreate, renderNetwork } from "./render-create.ts";

/** Changes of a container take long on a loaded host: giving up while the engine works on would only add load. */
const CHANGE_TIMEOUT_MS = 60_000;
/** Inspections under way at once: they are short, but each takes a lock in the engine. */
const INSPECTIONS_AT_ONCE = 8;

interface CachedInspection {
  readonly key: string;
  readonly container: Container;
}

export interface DockerEngineOptions {
  /** Usually /var/run/docker.sock. */
  readonly socketPath: string;
  readonly clock: Clock;
}

/** Docker (20.10 and later) over its unix socket. */
export class DockerEngine implements Engine {
  readonly #client: DockerClient;
  /** By id: the list has neither env nor exposed ports, and inspecting 100 containers at each event would cost a core. */
  readonly #inspected = new Map<string, CachedInspection>();

  readonly #clock: Clock;

  constructor(options: DockerEngineOptions) {
    this.#client = new DockerClient(options.socketPath);
    this.#clock = options.clock;
  }

  async info(): Promise<EngineInfo> {
    const attempt = { what: "ask the container engine what it is", object: "engine" };
    const [version, info] = (await Promise.all([
      this.#client.call({ method: "GET", path: "/version", attempt }),
      this.#client.call({ method: "GET", path: "/info", attempt }),
    ])) as [
      { Version?: string; ApiVersion?: string },
      { NCPU?: number; MemTotal?: number; LiveRestoreEnabled?: boolean },
    ];
    return {
      version: version.Version ?? "unknown",
      apiVersion: version.ApiVersion ?? "unknown",
      cpus: info.NCPU ?? 0,
      memoryBytes: info.MemTotal ?? 0,
      ...(info.LiveRestoreEnabled === undefined ? {} : { liveRestore: info.LiveRestoreEnabled }),
    };
  }

  async listContainers(): Promise<readonly Container[]> {
    const entries = (await this.#client.call({
      method: "GET",
      path: "/containers/json",
      query: { all: "true" },
      attempt: { what: "list containers", object: "containers" },
    })) as readonly ListEntryJson[];
    const present = new Set(entries.map((entry) => entry.Id));
    for (const id of this.#inspected.keys()) if (!present.has(id)) this.#inspected.delete(id);
    const containers: (Container | null)[] = [];
    for (let at = 0; at < entries.length; at += INSPECTIONS_AT_ONCE) {
      const part = entries.slice(at, at + INSPECTIONS_AT_ONCE);
      containers.push(...(await Promise.all(part.map((entry) => this.#inspectEntry(entry)))));
    }
    return containers.filter((container) => container !== null).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  async #inspectEntry(entry: ListEntryJson): Promise<Container | null> {
    const key = changeKey(entry);
    const cached = this.#inspected.get(entry.Id);
    if (cached?.key === key) return cached.container;
    const container = await this.inspectContainer(entry.Id);
    // What changed between the list and the inspection is inspected again at the next list, since the key is the older one.
    if (container !== null) this.#inspected.set(entry.Id, { key, container });
    return container;
  }

  async inspectContainer(idOrName: string): Promise<Container | null> {
    const json = await this.#inspectJson(idOrName);
    return json === null ? null : parseContainer(json);
  }

  async #inspectJson(idOrName: string): Promise<InspectJson | null> {
    const answer = this.#client.call({
      method: "GET",
      path: `/containers/${encodeURIComponent(idOrName)}/json`,
      attempt: { what: `inspect container "${idOrName}"`, object: idOrName },
    }) as Promise<InspectJson>;
    return answer.catch(nullIfMissing);
  }

  async createContainer(spec: ContainerSpec): Promise<string> {
    const answer = (await this.#client.call({
      method: "POST",
      path: "/containers/create",
      query: { name: spec.name },
      body: renderCreate(spec),
      attempt: { what: `create container "${spec.name}" from image "${spec.image}"`, object: spec.name },
      timeoutMs: CHANGE_TIMEOUT_MS,
    })) as { Id: string };
    return answer.Id;
  }

  async startContainer(id: string): Promise<void> {
    await this.#change("start", id, {});
  }

  async stopContainer(id: string, graceMs: number): Promise<void> {
    const seconds = Math.ceil(graceMs / 1000);
    await this.#change("stop", id, { t: String(seconds) }, graceMs).catch(nullIfMissing);
  }

  async #change(
    verb: "start" | "stop",
    id: string,
    query: Readonly<Record<string, string>>,
    graceMs = 0,
  ): Promise<void> {
    this.#inspected.delete(id);
    await this.#client.call({
      method: "POST",
      path: `/containers/${encodeURIComponent(id)}/${verb}`,
      query,
      attempt: { what: `${verb} container "${id.slice(0, 12)}"`, object: id },
      timeoutMs: CHANGE_TIMEOUT_MS + graceMs,
    });
  }

  async removeContainer(id: string): Promise<void> {
    this.#inspected.delete(id);
    const request = {
      method: "DELETE",
      path: `/containers/${encodeURIComponent(id)}`,
      query: { force: "true", v: "true" },
      attempt: { what: `remove container "${id.slice(0, 12)}"`, object: id },
      timeoutMs: CHANGE_TIMEOUT_MS,
    } as const;
    await this.#client.call(request).catch((error: unknown) => {
      const removedByOther = error instanceof AppError && /removal .* is already in progress/i.test(error.message);
      return removedByOther ? null : nullIfMissing(error);
    });
  }

  async setRestart(id: string, restart: ContainerSpec["restart"]): Promise<void> {
    // The list does not show the policy, so the next one must not answer from what was inspected before.
    this.#inspected.delete(id);
    await this.#client.call({
      method: "POST",
      path: `/containers/${encodeURIComponent(id)}/update`,
      body: { RestartPolicy: { Name: restart, MaximumRetryCount: 0 } },
      attempt: { what: `set the restart policy of container "${id.slice(0, 12)}"`, object: id },
      timeoutMs: CHANGE_TIMEOUT_MS,
    });
  }

  async hasImage(image: string): Promise<boolean> {
    const answer = this.#client.call({
      method: "GET",
      // Slashes of the name belong to the path; what else could change its meaning is escaped.
      path: `/images/${image.split("/").map(encodeURIComponent).join("/")}/json`,
      attempt: { what: `look up image "${image}"`, object: image },
    });
    return (await answer.catch(nullIfMissing)) !== null;
  }

  pullImage(image: string, signal?: AbortSignal): Promise<void> {
    return pullDockerImage(this.#client, image, signal);
  }

  async listNetworks(): Promise<readonly EngineNetwork[]> {
    const attempt = { what: "list networks", object: "networks" };
    const list = (await this.#client.call({ method: "GET", path: "/networks", attempt })) as readonly { Id: string }[];
    // The list leaves out which containers are attached.
    const networks = await Promise.all(
      list.map(({ Id }) =>
        (this.#client.call({ method: "GET", path: `/networks/${Id}`, attempt }) as Promise<NetworkJson>).catch(
          nullIfMissing,
        ),
      ),
    );
    return networks
      .filter((json) => json !== null)
      .map(parseNetwork)
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  async createNetwork(spec: EngineNetworkSpec): Promise<string> {
    const answer = (await this.#client.call({
      method: "POST",
      path: "/networks/create",
      body: renderNetwork(spec),
      attempt: { what: `create network "${spec.name}"`, object: spec.name },
      timeoutMs: CHANGE_TIMEOUT_MS,
    })) as { Id: string };
    return answer.Id;
  }

  async removeNetwork(name: string): Promise<void> {
    const attempt = { what: `remove network "${name}"`, object: name };
    const path = `/networks/${encodeURIComponent(name)}`;
    await this.#client.call({ method: "DELETE", path, attempt, timeoutMs: CHANGE_TIMEOUT_MS }).catch(nullIfMissing);
  }

  watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    const forget = (event: EngineEvent): void => {
      if (event.kind === "container") this.#inspected.delete(event.id);
      if (event.kind === "lost") this.#inspected.clear();
      onEvent(event);
    };
    return watchDocker({ client: this.#client, clock: this.#clock }, forget, signal);
  }

  async logs(
    id: string,
    options: { readonly follow: boolean; readonly tail: number | null; readonly sinceMs: number | null },
    sink: OutputSink,
    signal: AbortSignal,
  ): Promise<void> {
    const attempt = { what: `read the output of container "${id.slice(0, 12)}"`, object: id };
    const json = await this.#inspectJson(id);
    if (json === null) throw new AppError("not-found", `Cannot ${attempt.what}: there is no such container`);
    const stream = await this.#client.stream({
      method: "GET",
      path: `/containers/${encodeURIComponent(id)}/logs`,
      query: {
        stdout: "true",
        stderr: "true",
        follow: String(options.follow),
        tail: options.tail === null ? "all" : String(options.tail),
        ...(options.sinceMs === null ? {} : { since: (options.sinceMs / 1000).toFixed(3) }),
      },
      attempt,
      signal,
    });
    await deliverOutput(stream, { tty: json.Config?.Tty === true, sink, signal });
  }

  exec(
    id: string,
    options: { readonly argv: readonly string[]; readonly tty: boolean; readonly stdin: boolean },
    sink: OutputSink,
  ): Promise<ExecSession> {
    return openExec(this.#client, { id, ...options }, sink);
  }
}

interface NetworkJson {
  readonly Id: string;
  readonly Name: string;
  readonly Driver?: string;
  readonly EnableIPv6?: boolean;
  readonly IPAM?: {
    readonly Config?:
      | readonly { readonly Subnet?: string; readonly IPRange?: string; readonly Gateway?: string }[]
      | null;
  };
  readonly Options?: Readonly<Record<string, string>> | null;
  readonly Containers?: Readonly<Record<string, { readonly IPv4Address?: string }>> | null;
}

function parseNetwork(json: NetworkJson): EngineNetwork {
  const pool = json.IPAM?.Config?.find((config) => config.Subnet?.includes(".") === true);
  const gateway = pool?.Gateway;
  const pool6 = json.EnableIPv6 === true ? json.IPAM?.Config?.find(({ Subnet }) => Subnet?.includes(":")) : undefined;
  return {
    id: json.Id,
    name: json.Name,
    driver: json.Driver ?? "",
    subnet: pool?.Subnet ?? null,
    ipRange: pool?.IPRange === undefined || pool.IPRange === "" ? null : pool.IPRange,
    gateway: gateway !== undefined && isIpv4(gateway) ? gateway : null,
    ...(pool6?.Subnet === undefined ? {} : { ip6: { subnet: pool6.Subnet, gateway: pool6.Gateway ?? null } }),
    options: json.Options ?? {},
    containers: Object.fromEntries(
      Object.entries(json.Containers ?? {}).flatMap(([id, { IPv4Address = "" }]): (readonly [string, Ipv4])[] => {
        const address = IPv4Address.split("/")[0] ?? "";
        return isIpv4(address) ? [[id, address]] : [];
      }),
    ),
  };
}

/** What is gone already is as good as removed, and "none" is an answer to a look-up. */
function nullIfMissing(error: unknown): null {
  if (error instanceof AppError && error.code === "not-found") return null;
  if (error instanceof AppError) throw error;
  throw new Error(`Unexpected failure of the engine adapter: ${describeError(error)}`, { cause: error });
}
