import { expect } from "bun:test";
import type { Principal } from "../../cluster/access.ts";
import { AppError } from "../../model/error.ts";
import type { HostId } from "../../model/ids.ts";
import type { NetworkObject, NetworkObjectKind } from "../../model/network-config.ts";
import { parseNetworkObject } from "../../model/network-config.ts";
import type { HttpUpgrade } from "../../platform/ports/http.ts";
import { FakeAppService } from "../../sim/fake-app-service.ts";
import { fakeRequest } from "../../sim/fake-request.ts";
import { createNativeHandler } from "./handler.ts";
import type { NativeServices, NetworkObjects } from "./services.ts";
import type { HostJson, StatusJson } from "./shapes.ts";

export const NOW = Date.parse("2026-01-01T00:00:00.000Z");
export const app = (id: string, more: object = {}) => ({ id, container: { docker: { image: "x:1" } }, ...more });
export const HOST: HostJson = {
  id: "host-1",
  name: "h1",
  address: "192.0.2.1",
  phase: "up",
  cordoned: false,
  blocks: ["10.2.1.0/24"],
  cpus: { total: 2, used: 0 },
  memoryMiB: { total: 1000, used: 0 },
  instances: 0,
  labels: {},
  agentVersion: "0.1.0",
  lastSeenMs: NOW,
  joinedAtMs: NOW,
  conditions: [],
};
export const STATUS = { version: "0.1.0", uptimeMs: 1 } as StatusJson;

/** Notes what it was asked, and answers as a server with one host would. */
class FakeServices implements NativeServices {
  readonly version = "0.1.0";
  readonly ca = "-----BEGIN CERTIFICATE-----\n";
  readonly calls: string[] = [];
  readonly hosts = () => [HOST];
  readonly status = () => STATUS;
  readonly services = () => [];
  readonly links = () => [];
  readonly dnsCounts = () => new Map();
  readonly serviceOf = () => "web";
  readonly #objects = new Map<string, NetworkObject>();
  readonly network: NetworkObjects = {
    list: <Kind extends NetworkObjectKind>(kind: Kind) =>
      [...this.#objects].filter(([key]) => key.startsWith(kind)).map(([, one]) => one as NetworkObject<Kind>),
    put: async (kind, name, value) => {
      const object = parseNetworkObject(kind, { ...(value as object), name });
      this.#objects.set(`${kind}/${name}`, object);
      return object;
    },
    remove: async (kind, name) => {
      if (!this.#objects.delete(`${kind}/${name}`)) throw new AppError("not-found", `Cannot find ${kind} "${name}"`);
    },
  };
  readonly ask = async (host: string, question: unknown) => ({ host, question });
  readonly joinToken = () => "apollo1.x.y";
  readonly setCordoned = async (name: string, cordoned: boolean) => {
    if (name !== "h1") throw new AppError("not-found", `Cannot find host "${name}"`);
    return { ...HOST, cordoned };
  };
  readonly removeHost = async (name: string, { force }: { force: boolean }) => {
    if (!force) throw new AppError("conflict", `Cannot remove host "${name}": it is up`);
    this.calls.push(`remove ${name}`);
  };
  readonly dns = async (name: string, type: string) => ({
    name,
    type,
    code: "NXDOMAIN" as const,
    answers: [],
    excluded: [],
  });
  readonly doctor: NativeServices["doctor"] = async (host) => {
    this.calls.push(`doctor ${host}`);
    return { ok: true, hosts: 1, pairs: { checked: 0, total: 0 }, findings: [] };
  };
  readonly trace: NativeServices["trace"] = async ({ from, to, protocol, port, here }) => {
    this.calls.push(`trace ${from} ${to} ${port}/${protocol} ${here}`);
    return { from: from ?? `host:${here}`, to, protocol, port, ok: true, broken: null, steps: [] };
  };
  readonly join = async (request: { name: string }) => ({
    hostId: "host-9",
    credential: "c",
    block: `of ${request.name}`,
  });
  readonly leave = async (hostId: HostId) => `name of ${hostId}`;
  readonly openSession = (token: string) => {
    if (token !== "secret") throw new AppError("denied", "Invalid username or password.", { details: { status: 401 } });
    return { value: "1.ab", maxAgeS: 60 };
  };
  readonly #socket = (name: string): HttpUpgrade => {
    this.calls.push(name);
    return { upgrade: () => ({ message: () => undefined, closed: () => undefined }) };
  };
  readonly sockets = {
    feed: () => this.#socket("feed"),
    agent: (_: unknown, hostId: HostId) => this.#socket(`agent ${hostId}`),
    logs: (id: string, options: object) => this.#socket(`logs ${id} ${JSON.stringify(options)}`),
    exec: (id: string, options: object) => this.#socket(`exec ${id} ${JSON.stringify(options)}`),
  };
}

export class Client {
  readonly apps = new FakeAppService(NOW);
  readonly services = new FakeServices();
  readonly actions: string[] = [];
  principal: Principal | null = { kind: "admin" };
  readonly #handle = createNativeHandler({
    apps: this.apps,
    services: this.services,
    authorize: (_, { verb, resource }) => {
      this.actions.push(`${verb} ${resource}`);
      if (this.principal === null) throw new AppError("denied", "no", { details: { status: 401 } });
      return this.principal;
    },
  });

  /** Status and body, "upgrade" for a WebSocket. */
  async send(
    method: string,
    target: string,
    body?: unknown,
  ): Promise<readonly [number, ReturnType<typeof JSON.parse>]> {
    const answer = await this.#handle(fakeRequest(method, target, { body }));
    if ("upgrade" in answer) return [101, "upgrade"];
    const isJson = answer.headers["content-type"] === "application/json";
    if (answer.headers["set-cookie"] !== undefined) return [answer.status, answer.headers["set-cookie"]];
    return [answer.status, isJson ? JSON.parse(answer.body as string) : answer.body];
  }
}

export async function clientWith(...apps: readonly object[]): Promise<Client> {
  const client = new Client();
  for (const one of apps) expect((await client.send("POST", "/api/apps", one))[0]).toBe(201);
  return client;
}
