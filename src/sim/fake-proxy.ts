import { AppError, unreachable } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Proxy, ProxyAction, ProxyServer, ProxyState } from "../platform/ports/proxy.ts";

export interface FakeProxyOptions {
  readonly clock: Clock;
  /** Virtual time of each call, so that loops interleave as they do with the real one. */
  readonly latencyMs?: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * HAProxy in memory, as strict as the real one: a server is added once, in `maint`; it is deleted only from `maint`
 * without sessions and idle connections; a load takes backends and servers from the text alone.
 */
export class FakeProxy implements Proxy {
  /** Starts and reloads so far. */
  loads = 0;
  /** Set to a program's name to have port 80 taken by it. */
  portHolder: string | null = null;
  /** Set to make it refuse the next configurations. */
  refuses: string | null = null;
  readonly #clock: Clock;
  readonly #latencyMs: number;
  #running = false;
  #structure: string | null = null;
  #backends: string[] = [];
  readonly #servers = new Map<string, Mutable<ProxyServer>>();
  #map = new Map<string, string>();
  #saved: ProxyState["saved"] = null;

  constructor({ clock, latencyMs = 0 }: FakeProxyOptions) {
    this.#clock = clock;
    this.#latencyMs = latencyMs;
  }

  async observe(): Promise<ProxyState> {
    await this.#wait();
    return this.state();
  }

  /** What `observe` gives, at once. */
  state(): ProxyState {
    return {
      running: this.#running,
      structure: this.#structure,
      backends: [...this.#backends],
      servers: [...this.#servers.values()].map((server) => ({ ...server })),
      map: Object.fromEntries(this.#map),
      saved: this.#saved,
    };
  }

  async apply(action: ProxyAction): Promise<void> {
    await this.#wait();
    if (action.kind === "save") {
      this.#saved = { text: action.text, map: { ...action.map } };
      return;
    }
    if (action.kind === "load") {
      this.#load(action);
      return;
    }
    if (!this.#running) throw new AppError("not-found", "Cannot reach HAProxy: nothing listens there");
    this.#change(action);
  }

  async stop(): Promise<void> {
    await this.#wait();
    this.kill();
  }

  /** As SIGKILL does: the process is gone, the files stay. */
  kill(): void {
    this.#running = false;
    this.#structure = null;
    this.#backends = [];
    this.#servers.clear();
    this.#map.clear();
  }

  /** Load on a server, which only clients cause. */
  setConnections(backend: string, name: string, count: { readonly sessions: number; readonly idle: number }): void {
    const server = this.#server(backend, name);
    server.sessions = count.sessions;
    server.idle = count.idle;
  }

  /** Servers that take requests, as `backend/name`, sorted. */
  ready(): readonly string[] {
    const ready = [...this.#servers.entries()].filter(([, server]) => server.state === "ready");
    return ready.map(([key]) => key).toSorted();
  }

  toString(): string {
    const servers = [...this.#servers.values()].map(
      (server) =>
        `server ${server.backend}/${server.name} ${server.address}:${server.port} ${server.state} sessions=${server.sessions} idle=${server.idle}`,
    );
    const backends = this.#backends.map((backend) => `backend ${backend}`);
    const map = [...this.#map].map(([key, value]) => `map ${key} ${value}`);
    return [this.#running ? "running" : "stopped", ...[...backends, ...servers, ...map].toSorted()].join("\n");
  }

  #load(action: Extract<ProxyAction, { kind: "load" }>): void {
    if (this.refuses !== null) {
      throw new AppError("invalid", `Cannot load the ingress configuration: HAProxy refuses it: ${this.refuses}`);
    }
    this.#saved = { text: action.text, map: { ...action.map } };
    if (this.portHolder !== null && !this.#running) {
      throw new AppError("conflict", `Cannot start HAProxy: port 80 is taken by ${this.portHolder}`, {
        details: { reason: "port-taken", port: "80" },
      });
    }
    this.kill();
    this.loads += 1;
    this.#running = true;
    this.#map = new Map(Object.entries(action.map));
    for (const line of action.text.split("\n")) this.#readLine(line);
  }

  #readLine(line: string): void {
    const words = line.trim().split(" ");
    if (words[0] === "description") this.#structure = words[1]?.replace("apollo-structure-", "") ?? null;
    if (words[0] === "backend") this.#backends.push(words[1] ?? "");
    if (words[0] !== "server") return;
    const [, name = "", place = ""] = words;
    const [address = "", port = ""] = place.split(":");
    const backend = this.#backends.at(-1) ?? "";
    if (this.#servers.has(`${backend}/${name}`)) throw new Error(`Two servers are called ${backend}/${name}`);
    const fresh = { backend, name, address, port: Number(port), state: "ready", sessions: 0, idle: 0 } as const;
    this.#servers.set(`${backend}/${name}`, fresh);
  }

  #change(action: Exclude<ProxyAction, { kind: "load" | "save" }>): void {
    switch (action.kind) {
      case "add-server": {
        const { backend, name, address, port } = action;
        const key = `${backend}/${name}`;
        if (!this.#backends.includes(backend)) throw new AppError("not-found", `No such backend: ${backend}`);
        if (this.#servers.has(key)) throw new AppError("conflict", `Already exists a server with the name ${key}`);
        this.#servers.set(key, { backend, name, address, port, state: "maint", sessions: 0, idle: 0 });
        return;
      }
      case "set-server": {
        const server = this.#server(action.backend, action.name);
        server.state = action.state;
        if (action.state === "maint") server.idle = 0;
        return;
      }
      case "delete-server": {
        const server = this.#server(action.backend, action.name);
        if (server.state !== "maint")
          throw new AppError("conflict", "Only servers in maintenance mode can be deleted.");
        if (server.sessions + server.idle > 0)
          throw new AppError("conflict", "Server still has connections attached to it");
        this.#servers.delete(`${action.backend}/${action.name}`);
        return;
      }
      case "put-map":
        this.#map.set(action.key, action.value);
        return;
      case "delete-map":
        if (!this.#map.delete(action.key)) throw new AppError("not-found", `No such map entry: ${action.key}`);
        return;
      default:
        unreachable(action, "proxy action");
    }
  }

  #server(backend: string, name: string): Mutable<ProxyServer> {
    const server = this.#servers.get(`${backend}/${name}`);
    if (server === undefined) throw new AppError("not-found", `No such server: ${backend}/${name}`);
    return server;
  }

  async #wait(): Promise<void> {
    if (this.#latencyMs > 0) await this.#clock.sleep(this.#latencyMs);
  }
}
