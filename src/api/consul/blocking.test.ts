/** Blocking queries wake exactly: with every change of their own answer, and with nothing else. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Endpoint, EndpointHealth } from "../../model/endpoint.ts";
import type { ServiceName } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { type ConsulFixture, hostNamed, openConsul } from "../../sim/consul-fixture.ts";

const TARGETS = [
  "kv/a",
  "kv/a/x",
  "kv/none",
  "kv/a/?recurse",
  "kv/b?recurse",
  "kv/?recurse",
  "catalog/nodes",
  "catalog/service/web",
  "catalog/service/db",
  "catalog/node/ext",
  "catalog/node/h2",
  "health/service/web",
  "health/service/db",
  "health/checks/web",
  "health/node/ext",
  "health/node/n1",
  "health/state/any",
  "health/state/critical",
  "session/list",
  "session/node/ext",
  "kv/a/?keys",
  "catalog/services",
];
/** The list of keys has the index of all below it, values included, as in Consul. */
const DECIDED_BY: Readonly<Record<string, string>> = { "kv/a/?keys": "kv/a/?recurse" };

type Step = (consul: ConsulFixture) => Promise<unknown>;

interface NamedStep {
  readonly name: string;
  readonly run: Step;
}

function endpoint(host: string, container: string, health: EndpointHealth, tags: readonly string[]): Endpoint {
  return {
    id: `${host}:${container}:80`,
    service: "web" as ServiceName,
    address: parseIpv4("10.2.1.2"),
    port: 80,
    protocol: "tcp",
    tags,
    meta: {},
    host,
    container,
    instanceId: null,
    appId: null,
    health,
  };
}

const key = fc.constantFrom("a", "a/x", "a/y", "b", "b/z/1");
const value = fc.constantFrom("1", "2");
const status = fc.constantFrom<EndpointHealth>("passing", "warning", "critical");
const tags = fc.constantFrom<readonly string[]>([], ["v1"], ["v1", "v2"]);

function step(name: string, run: Step): NamedStep {
  return { name, run };
}

const steps: fc.Arbitrary<NamedStep> = fc.oneof(
  fc.tuple(key, value).map(([k, v]) => step(`put ${k}=${v}`, (consul) => consul.put(`kv/${k}`, v))),
  key.map((k) => step(`delete ${k}`, (consul) => consul.ask("DELETE", `kv/${k}`))),
  fc.constant(step("delete a/ and below", (consul) => consul.ask("DELETE", "kv/a/?recurse"))),
  fc.tuple(fc.constantFrom("web", "db"), fc.constantFrom("1", "2"), tags).map(([service, id, each]) =>
    step(`register ${service}-${id} ${each.join()}`, (consul) =>
      consul.put("catalog/register", {
        Node: "ext",
        Address: "192.0.2.77",
        Service: { ID: `${service}-${id}`, Service: service, Tags: each, Port: 80 },
      }),
    ),
  ),
  fc.tuple(fc.constantFrom("web-1", "db-1", ""), status).map(([service, state]) =>
    step(`check of ${service} ${state}`, (consul) =>
      consul.ask("PUT", "catalog/register", {
        body: {
          Node: "ext",
          SkipNodeUpdate: true,
          Check: { CheckID: `check-${service}`, Name: "c", Status: state, ServiceID: service },
        },
      }),
    ),
  ),
  fc
    .constantFrom("web-1", "db-1")
    .map((id) =>
      step(`deregister ${id}`, (consul) => consul.put("catalog/deregister", { Node: "ext", ServiceID: id })),
    ),
  fc.constant(step("deregister ext", (consul) => consul.put("catalog/deregister", { Node: "ext" }))),
  fc
    .constantFrom("192.0.2.77", "192.0.2.78")
    .map((Address) =>
      step(`node ext at ${Address}`, (consul) => consul.put("catalog/register", { Node: "ext", Address })),
    ),
  fc
    .tuple(fc.constantFrom("c1", "c2"), status, tags)
    .map(([container, health, each]) =>
      step(`container ${container} ${health}`, async ({ parts }) =>
        parts.platform.applyEndpoints([endpoint("h2", container, health, each)], []),
      ),
    ),
  fc.constant(step("container c1 gone", async ({ parts }) => parts.platform.applyEndpoints([], ["h2:c1:80"]))),
  fc
    .boolean()
    .map((up) =>
      step(`h2 ${up ? "up" : "down"}`, async ({ parts }) =>
        parts.platform.setHosts([hostNamed("n1", { server: true }), hostNamed("h2", { up })]),
      ),
    ),
  fc.constant(step("h2 gone", async ({ parts }) => parts.platform.setHosts([hostNamed("n1", { server: true })]))),
  fc
    .constantFrom("n1", "ext")
    .map((Node) =>
      step(`session on ${Node}`, (consul) => consul.ask("PUT", "session/create", { body: { Node, NodeChecks: [] } })),
    ),
  fc.constant(
    step("end a session", async (consul) => {
      const [first] = (await consul.get("session/list")) as readonly { readonly ID: string }[];
      return first === undefined ? null : consul.put(`session/destroy/${first.ID}`);
    }),
  ),
);

class Watcher {
  readonly #consul: ConsulFixture;
  readonly target: string;
  text = "";
  index = "0";
  blocked = false;
  woke = false;
  /** What the wait was answered with. */
  answered = "";

  constructor(consul: ConsulFixture, target: string) {
    this.#consul = consul;
    this.target = target;
  }

  /** What a client does that begins anew. */
  async look(): Promise<void> {
    const { headers } = await this.#consul.ask("GET", this.target);
    this.text = await freshText(this.#consul, this.target);
    this.index = headers["x-consul-index"] ?? "";
  }

  block(): void {
    this.blocked = true;
    this.woke = false;
    const mark = this.target.includes("?") ? "&" : "?";
    void this.#consul.ask("GET", `${this.target}${mark}index=${this.index}&wait=10m`).then(({ text }) => {
      this.woke = true;
      this.answered = text;
    });
  }
}

async function freshText(consul: ConsulFixture, target: string): Promise<string> {
  return (await consul.ask("GET", DECIDED_BY[target] ?? target)).text;
}

async function play(plan: readonly NamedStep[], polls: readonly boolean[]): Promise<void> {
  const consul = await openConsul();
  // Two of each: they share what is rendered.
  const watchers = TARGETS.flatMap((target) => [new Watcher(consul, target), new Watcher(consul, target)]);
  for (const watcher of watchers) {
    await watcher.look();
    watcher.block();
  }
  await consul.clock.advance(0);
  for (const [at, { name, run }] of plan.entries()) {
    await run(consul);
    await consul.clock.advance(0);
    for (const watcher of watchers) {
      const changed = (await freshText(consul, watcher.target)) !== watcher.text;
      const told = `${watcher.target} after ${at}: ${name}`;
      if (watcher.blocked) expect(`${told}: ${watcher.woke}`).toBe(`${told}: ${changed}`);
      if (watcher.blocked && !watcher.woke) continue;
      if (watcher.blocked)
        expect(`${told}: ${watcher.answered}`).toBe(`${told}: ${(await consul.ask("GET", watcher.target)).text}`);
      if (watcher.blocked) await watcher.look();
      watcher.blocked = false;
      // Some clients are away for a while, and ask later with the index that they have.
      if (polls[at % Math.max(1, polls.length)] === true) continue;
      watcher.block();
      await consul.clock.advance(0);
      const missed = (await freshText(consul, watcher.target)) !== watcher.text;
      // The other way round does not hold: what came and went meanwhile leaves the same answer.
      if (missed) expect(`${told}, asked again: ${watcher.woke}`).toBe(`${told}, asked again: ${missed}`);
      if (!watcher.woke) continue;
      await watcher.look();
      watcher.block();
      await consul.clock.advance(0);
      expect(`${told}, asked once more: ${watcher.woke}`).toBe(`${told}, asked once more: false`);
    }
  }
  consul.parts.close();
}

test("property: every watcher wakes with each change of its answer and with no other", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 14 }), fc.array(fc.boolean(), { maxLength: 7 }), play),
    { numRuns: 80 },
  );
}, 60_000);

test("a wait ends after its time with the same index, within a sixteenth more", async () => {
  const consul = await openConsul();
  await consul.put("kv/k", "1");
  const { headers } = await consul.ask("GET", "kv/k");
  const startMs = consul.clock.monotonicMs();
  const answer = await consul.clock.settle(consul.ask("GET", `kv/k?index=${headers["x-consul-index"]}&wait=16s`));
  const tookMs = consul.clock.monotonicMs() - startMs;
  expect(tookMs).toBeGreaterThanOrEqual(16_000);
  expect(tookMs).toBeLessThanOrEqual(17_000);
  expect([answer.status, answer.headers["x-consul-index"]]).toEqual([200, headers["x-consul-index"] ?? ""]);
});

test("a missing key that stays missing keeps its client's index; unrelated writes do not end the wait", async () => {
  const consul = await openConsul();
  const { headers } = await consul.ask("GET", "kv/none");
  const blocked = consul.ask("GET", `kv/none?index=${headers["x-consul-index"]}&wait=10s`);
  await consul.put("kv/other", "1");
  const answer = await consul.clock.settle(blocked);
  expect([answer.status, answer.headers["x-consul-index"]]).toEqual([404, headers["x-consul-index"] ?? ""]);
});

test("ten thousand idle queries share a few timers, and all go when their clients do", async () => {
  const consul = await openConsul();
  const { watches, deadlines } = consul.parts.registry;
  const gone = new AbortController();
  const before = consul.clock.pending;
  const all = Array.from({ length: 10_000 }, (_, n) =>
    consul.ask("GET", `kv/key-${n}?index=1000000&wait=5m`, { signal: gone.signal }),
  );
  await consul.clock.advance(0);
  expect(watches.waiting).toBe(10_000);
  expect(consul.clock.pending - before).toBeLessThanOrEqual(1);
  gone.abort();
  await Promise.all(all);
  expect(watches.waiting).toBe(0);
  // One is left: the sweep of lock delays.
  expect(deadlines.size).toBe(1);
});

test("after a restart every client is answered once, with an index that is later, and then waits", async () => {
  const first = await openConsul();
  await first.put("kv/a/1", "1");
  await first.put("kv/a/2", "1");
  const { headers } = await first.ask("GET", "kv/a?recurse");
  await first.ask("DELETE", "kv/a/2");
  const second = await first.reopen();
  const answer = await second.ask("GET", `kv/a?recurse&index=${headers["x-consul-index"]}&wait=5m`);
  expect((JSON.parse(answer.text) as unknown[]).length).toBe(1);
  expect(Number(answer.headers["x-consul-index"])).toBeGreaterThan(Number(headers["x-consul-index"]));
  let woke = false;
  void second.ask("GET", `kv/a?recurse&index=${answer.headers["x-consul-index"]}&wait=5m`).then(() => {
    woke = true;
  });
  await second.clock.advance(1000);
  expect(woke).toBe(false);
  await second.put("kv/a/3", "1");
  expect(woke).toBe(true);
});
