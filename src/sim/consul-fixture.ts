/** Consul's API over a registry in memory: for tests of the model and of its shapes. */
import { createConsulHandler } from "../api/consul/handler.ts";
import type { Caller, ConsulBackend } from "../api/consul/backend.ts";
import { Grants } from "../discovery/registry/acl/grants.ts";
import { openRegistry, type RegistryParts } from "../discovery/registry/registry-parts.ts";
import { registryError } from "../discovery/registry/registry-error.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HttpRequest } from "../platform/ports/http.ts";
import { fakeRequest } from "./fake-request.ts";
import { FakeStore } from "./fake-store.ts";
import { SeededRandom } from "./seeded-random.ts";
import { VirtualClock } from "./virtual-clock.ts";

export interface ConsulAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export interface ConsulFixture {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly parts: RegistryParts;
  readonly store: FakeStore;
  readonly backend: ConsulBackend;
  ask(method: string, target: string, options?: AskOptions): Promise<ConsulAnswer>;
  /** The JSON of an answer that must be 200. */
  get(target: string): Promise<unknown>;
  put(target: string, body?: unknown): Promise<unknown>;
  /** The same disk under a new process. */
  reopen(): Promise<ConsulFixture>;
}

export interface AskOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export const NODE = "n1";

/** The store takes turns of the event loop, but no time: who moves the clock then moves it for the sessions alone. */
const NO_WAIT: Clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };

export async function openConsul(
  change: Partial<ConsulBackend> = {},
  disk?: { readonly clock: VirtualClock; readonly random: SeededRandom; readonly store: FakeStore },
): Promise<ConsulFixture> {
  const clock = disk?.clock ?? new VirtualClock();
  const random = disk?.random ?? new SeededRandom(7);
  const fake = disk?.store ?? new FakeStore({ clock: NO_WAIT, random });
  const parts = await openRegistry({ store: fake, clock, random, digest: nodeDigest });
  parts.platform.setHosts([hostNamed(NODE, { server: true })]);
  const backend: ConsulBackend = { ...baseBackend(parts, clock), ...change };
  const handle = createConsulHandler(backend);
  const ask = async (method: string, target: string, options: AskOptions = {}): Promise<ConsulAnswer> => {
    const made = fakeRequest(method, `/v1/${target}`, options);
    const request: HttpRequest = options.signal === undefined ? made : { ...made, signal: options.signal };
    const answer = await handle(request);
    if ("upgrade" in answer) throw new Error("no API of Consul's upgrades");
    const { status, headers, body } = answer;
    const text = body instanceof Uint8Array ? new TextDecoder().decode(body) : typeof body === "string" ? body : "";
    return { status, headers, text };
  };
  const json = async (method: string, target: string, body?: unknown): Promise<unknown> => {
    const answer = await ask(method, target, body === undefined ? {} : { body });
    if (answer.status !== 200) throw new Error(`${method} ${target}: ${answer.status} ${answer.text}`);
    return answer.text === "" ? null : JSON.parse(answer.text);
  };
  return {
    clock,
    random,
    parts,
    store: fake,
    backend,
    ask,
    get: (target) => json("GET", target),
    put: (target, body) => json("PUT", target, body),
    reopen: () => {
      parts.close();
      return openConsul(change, { clock, random, store: fake.reopen() });
    },
  };
}

export function hostNamed(
  name: string,
  change: { server?: boolean; up?: boolean; address?: string } = {},
): {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly up: boolean;
  readonly server: boolean;
  readonly meta: Readonly<Record<string, string>>;
} {
  const hex = nodeDigest.sha256(name);
  const id = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  return { id, name, address: "192.0.2.11", up: true, server: false, meta: { "consul-version": "1.21.4" }, ...change };
}

function baseBackend(parts: RegistryParts, clock: VirtualClock): ConsulBackend {
  const everybody: Caller = { grants: Grants.everything(), token: null };
  return {
    parts,
    version: "0.1.0",
    aclEnabled: false,
    defaultPolicy: "allow",
    datacenter: () => "dc1",
    localNode: () => NODE,
    leader: () => "192.0.2.11:8300",
    peers: () => ["192.0.2.11:8300"],
    members: () => [{ ...hostNamed(NODE), server: true, status: "alive" }],
    caller: () => everybody,
    forceLeave: (node) => Promise.reject(registryError(500, `agent: No node found with name '${node}'`)),
    startedAtMs: clock.nowMs(),
    hostInfo: () => ({
      Memory: null,
      CPU: null,
      Host: { hostname: NODE },
      Disk: null,
      CollectionTime: 0,
      Errors: null,
    }),
  };
}
