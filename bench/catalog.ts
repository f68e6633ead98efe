import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { type ConsulServer, startConsulServer } from "../test/api/consul-server.ts";
import { type Bench, median } from "./bench.ts";
import { GROWTH_SIZES, type GrowthPoint, measureGrowth } from "./catalog-growth.ts";

/** Connections that ask at the same time. */
const WIDTH = 64;
const WATCHERS = 1000;
const KEYS = 2000;
const VALUE = "x".repeat(256);

/** Consul's API over HTTP. The client shares the process, so the peer is a bare server that answers the same bytes, asked alike. */
export const benchCatalog: Bench = async ({ rounds: wanted, quick, progress }) => {
  const rounds = wanted ?? (quick ? 2 : 5);
  const requests = quick ? 2000 : 10_000;
  const directory = mkdtempSync(join(tmpdir(), "apollo-bench-"));
  const consul = await startConsulServer(directory, "off");
  const bare = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => new Response(request.method === "PUT" ? String((await request.bytes()).length > 0) : ROW),
  });
  const bareBase = `http://127.0.0.1:${bare.port}/v1`;
  const bareWaiting = new BareWaiting();
  const rates = new Map<string, number[]>();
  const note = (name: string, value: number): void => void rates.set(name, [...(rates.get(name) ?? []), value]);
  try {
    for (let round = 0; round < rounds; round += 1) {
      progress(`catalog: round ${round + 1} of ${rounds}`);
      for (const [name, base] of [
        ["ours", consul.base],
        ["bare", bareBase],
      ] as const) {
        note(`put ${name}`, await rate(requests, (n) => put(`${base}/kv/bench/${n % KEYS}`, VALUE + round)));
        note(`get ${name}`, await rate(requests, (n) => get(`${base}/kv/bench/${n % KEYS}`)));
      }
      note("register", await rate(requests / 5, (n) => register(consul.base, n, round)));
      note("health", await rate(requests / 5, (n) => get(`${consul.base}/health/service/s${n % 50}?passing`)));
      const wake = await wakeAll(consul, round);
      for (const [name, value] of Object.entries(wake)) note(name, value);
      note("wake bare p99", await bareWaiting.wakeAll());
    }
    progress("catalog: growth");
    const points = await measureGrowth(directory, quick ? 10_000 : 100_000);
    for (const [name, value] of growthFigures(points)) note(name, value);
  } finally {
    await bareWaiting.stop();
    await bare.stop(true);
    await consul.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  const of = (name: string): number => median(rates.get(name) ?? []);
  return {
    rounds,
    figures: {
      "KV PUT, durable, /s": of("put ours"),
      "KV GET, /s": of("get ours"),
      "catalog/register, /s": of("register"),
      "health/service, /s": of("health"),
      wake_p99_ms: of("wake p99"),
      wake_bare_p99_ms: of("wake bare p99"),
      spurious_wakes: Math.max(...(rates.get("spurious") ?? [Number.NaN])),
      ...Object.fromEntries([...rates.keys()].filter((key) => key.startsWith("at ")).map((key) => [key, of(key)])),
    },
    ratios: {
      put_vs_bare: of("put ours") / of("put bare"),
      get_vs_bare: of("get ours") / of("get bare"),
      wake_vs_bare: of("wake bare p99") / of("wake p99"),
      growth_linear: of("growth linear"),
    },
    notes: [
      `${WIDTH} connections, 256-byte values; client and servers share one process and its core`,
      `${WATCHERS} watchers of one key, each woken once, while 300 writes go to other keys; bare: as many that wait for one promise`,
      `memory of a process that holds nothing but the registry and the catalog, ${GROWTH_SIZES.join(", ")} endpoints; growth_linear: bytes an endpoint at the first size over those at the last, 1 is a straight line`,
    ],
  };
};

const ROW = JSON.stringify([
  { LockIndex: 0, Key: "bench/1", Flags: 0, Value: btoa(VALUE), CreateIndex: 1, ModifyIndex: 1 },
]);

/** One line a size: what a person sees as the curve. */
function growthFigures(points: readonly GrowthPoint[]): readonly (readonly [string, number])[] {
  const [empty, first] = points;
  const last = points.at(-1);
  if (empty === undefined || first === undefined || last === undefined) throw new Error("The growth has no points");
  const bytesEach = (point: GrowthPoint): number => ((point.heapMiB - empty.heapMiB) * 2 ** 20) / point.endpoints;
  return [
    ["growth linear", bytesEach(first) / bytesEach(last)],
    ...points.flatMap((point) => [
      [`at ${point.endpoints}, resident MiB`, point.residentMiB] as const,
      ...(point === empty
        ? []
        : [
            [`at ${point.endpoints}, heap bytes an endpoint`, bytesEach(point)] as const,
            [`at ${point.endpoints}, µs a registration`, point.registerUs] as const,
          ]),
    ]),
  ];
}

/** Requests a second. */
async function rate(requests: number, run: (n: number) => Promise<void>): Promise<number> {
  let next = 0;
  const startMs = performance.now();
  const worker = async (): Promise<void> => {
    while (next < requests) await run(next++);
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
  return (requests / (performance.now() - startMs)) * 1000;
}

async function get(url: string): Promise<void> {
  await (await fetch(url)).text();
}

async function put(url: string, body: string): Promise<void> {
  const answer = await fetch(url, { method: "PUT", body });
  if ((await answer.text()) !== "true") throw new Error(`PUT ${url}: ${answer.status}`);
}

function register(base: string, n: number, round: number): Promise<void> {
  const service = { Service: `s${n % 50}`, ID: `s-${n}`, Port: 80, Meta: { round: String(round) } };
  return put(
    `${base}/catalog/register`,
    JSON.stringify({ Node: `n${n % 100}`, Address: "192.0.2.1", Service: service }),
  );
}

async function wakeAll({ base, server }: ConsulServer, round: number): Promise<Readonly<Record<string, number>>> {
  const { watches } = server.consul.parts.registry;
  await put(`${base}/kv/watched`, `before ${round}`);
  const index = (await fetch(`${base}/kv/watched`)).headers.get("x-consul-index") ?? "";
  let changedAtMs = 0;
  let spurious = 0;
  const woken = Array.from({ length: WATCHERS }, async () => {
    await watch(server.consul.port ?? 0, `/v1/kv/watched?index=${index}&wait=5m`);
    if (changedAtMs === 0) spurious += 1;
    return performance.now() - changedAtMs;
  });
  while (watches.waiting < WATCHERS) await systemClock.sleep(20);
  for (let n = 0; n < 300; n += 1) await put(`${base}/kv/other/${n}`, `${round}`);
  changedAtMs = performance.now();
  await put(`${base}/kv/watched`, `after ${round}`);
  return { "wake p99": p99(await Promise.all(woken)), spurious };
}

/** What waking costs at the least: a server without routes whose requests all wait for one promise. */
class BareWaiting {
  #gate = Promise.withResolvers<void>();
  #waiting = 0;
  readonly #server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 60,
    fetch: async () => {
      this.#waiting += 1;
      await this.#gate.promise;
      return new Response(ROW, { headers: { "content-type": "application/json", "x-consul-index": "1" } });
    },
  });

  async wakeAll(): Promise<number> {
    this.#gate = Promise.withResolvers();
    this.#waiting = 0;
    let openedAtMs = 0;
    const woken = Array.from({ length: WATCHERS }, async () => {
      await watch(this.#server.port ?? 0, "/");
      return performance.now() - openedAtMs;
    });
    while (this.#waiting < WATCHERS) await systemClock.sleep(20);
    openedAtMs = performance.now();
    this.#gate.resolve();
    return p99(await Promise.all(woken));
  }

  stop(): Promise<void> {
    return this.#server.stop(true);
  }
}

function p99(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? Number.NaN;
}

/** Resolves with the first bytes of the answer. A socket of its own: fetch has 256 connections, and would keep none for the writer. */
function watch(port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
    const socket = {
      open: (opened: Bun.Socket): void => void opened.write(request),
      data: (answered: Bun.Socket): void => {
        answered.end();
        resolve();
      },
      error: (_failed: Bun.Socket, error: Error): void => reject(error),
    };
    Bun.connect({ hostname: "127.0.0.1", port, socket }).catch(reject);
  });
}
