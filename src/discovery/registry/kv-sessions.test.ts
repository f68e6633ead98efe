/** Keys, sessions and locks against a model that is too simple to be wrong. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { hostNamed, openConsul, type ConsulFixture } from "../../sim/consul-fixture.ts";

interface ModelKey {
  value: string;
  lockIndex: number;
  session: number | null;
}

/** Sessions by number of their making; ended ones are null. */
class Model {
  readonly keys = new Map<string, ModelKey>();
  readonly sessions: ({ behavior: "release" | "delete" } | null)[] = [];

  put(key: string, value: string): boolean {
    const before = this.keys.get(key);
    this.keys.set(key, { value, lockIndex: before?.lockIndex ?? 0, session: before?.session ?? null });
    return true;
  }

  acquire(key: string, value: string, session: number): boolean | "unknown" {
    if ((this.sessions[session] ?? null) === null) return "unknown";
    const before = this.keys.get(key);
    if (before !== undefined && before.session !== null && before.session !== session) return false;
    const again = before?.session === session;
    this.keys.set(key, { value, session, lockIndex: (before?.lockIndex ?? 0) + (again ? 0 : 1) });
    return true;
  }

  release(key: string, value: string, session: number): boolean {
    const before = this.keys.get(key);
    if (before === undefined || before.session === null || before.session !== session) return false;
    this.keys.set(key, { ...before, value, session: null });
    return true;
  }

  end(session: number): void {
    const ended = this.sessions[session];
    if (ended === null || ended === undefined) return;
    this.sessions[session] = null;
    for (const [key, row] of this.keys) {
      if (row.session !== session) continue;
      if (ended.behavior === "delete") this.keys.delete(key);
      else row.session = null;
    }
  }

  toString(): string {
    return [...this.keys]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, row]) => `${key}=${row.value} lock ${row.lockIndex} by ${row.session}`)
      .join("\n");
  }
}

type Command =
  | { readonly kind: "put" | "delete"; readonly key: string; readonly value: string }
  | { readonly kind: "acquire" | "release"; readonly key: string; readonly value: string; readonly session: number }
  | { readonly kind: "create"; readonly behavior: "release" | "delete" }
  | { readonly kind: "end"; readonly session: number }
  | { readonly kind: "restart" };

const key = fc.constantFrom("a", "b", "dir/c");
const value = fc.constantFrom("1", "2", "3");
const session = fc.integer({ min: 0, max: 3 });
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constantFrom("put", "delete"), key, value }),
  fc.record({ kind: fc.constantFrom("acquire", "release"), key, value, session }),
  fc.record({ kind: fc.constant("create" as const), behavior: fc.constantFrom("release", "delete") }),
  fc.record({ kind: fc.constant("end" as const), session }),
  fc.constant<Command>({ kind: "restart" }),
);

async function play(commands: readonly Command[]): Promise<void> {
  let consul = await openConsul();
  const model = new Model();
  const ids: string[] = [];
  for (const each of commands) {
    switch (each.kind) {
      case "put":
        expect(await consul.put(`kv/${each.key}`, each.value)).toBe(model.put(each.key, each.value));
        break;
      case "delete":
        expect((await consul.ask("DELETE", `kv/${each.key}`)).text).toBe("true");
        model.keys.delete(each.key);
        break;
      case "create": {
        const body = { Behavior: each.behavior, LockDelay: "0s" };
        ids.push(((await consul.put("session/create", body)) as { ID: string }).ID);
        model.sessions.push({ behavior: each.behavior });
        break;
      }
      case "end":
        model.end(each.session);
        await consul.put(`session/destroy/${ids[each.session] ?? "none"}`);
        break;
      case "acquire":
      case "release": {
        const id = ids[each.session] ?? "none";
        const answer = await consul.ask("PUT", `kv/${each.key}?${each.kind}=${id}`, { body: each.value });
        const said = model[each.kind](each.key, each.value, each.session);
        if (said === "unknown") expect(answer.text).toStartWith("invalid session");
        else expect(answer.text).toBe(String(said));
        break;
      }
      case "restart":
        consul = await consul.reopen();
        break;
    }
    expect(await shown(consul, ids)).toBe(model.toString());
  }
  consul.parts.close();
}

async function shown(consul: ConsulFixture, ids: readonly string[]): Promise<string> {
  const answer = await consul.ask("GET", "kv/?recurse");
  if (answer.status === 404) return "";
  const rows = JSON.parse(answer.text) as { Key: string; Value: string; LockIndex: number; Session?: string }[];
  return rows
    .map(({ Key, Value, LockIndex, Session }) => {
      const holder = Session === undefined ? null : ids.indexOf(Session);
      return `${Key}=${atob(Value)} lock ${LockIndex} by ${holder}`;
    })
    .join("\n");
}

test("property: keys, locks and sessions do what the model does, restarts between", async () => {
  await fc.assert(fc.asyncProperty(fc.array(command, { maxLength: 25 }), play), { numRuns: 100 });
}, 30_000);

test("property: clients that add one by compare-and-swap at the same time lose none", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 1, max: 5 }), async (clients, each) => {
      const consul = await openConsul();
      const add = async (): Promise<void> => {
        for (let done = 0; done < each;) {
          const answer = await consul.ask("GET", "kv/n");
          const [row] =
            answer.status === 404 ? [] : (JSON.parse(answer.text) as { Value: string; ModifyIndex: number }[]);
          const next = String(Number(row === undefined ? 0 : atob(row.Value)) + 1);
          if ((await consul.put(`kv/n?cas=${row?.ModifyIndex ?? 0}`, next)) === true) done += 1;
        }
      };
      await Promise.all(Array.from({ length: clients }, add));
      expect((await consul.ask("GET", "kv/n?raw")).text).toBe(String(clients * each));
    }),
    { numRuns: 20 },
  );
});

async function createSession(consul: ConsulFixture, body: object): Promise<string> {
  return ((await consul.put("session/create", body)) as { ID: string }).ID;
}

async function countSessions(consul: ConsulFixture): Promise<number> {
  return ((await consul.get("session/list")) as unknown[]).length;
}

test("a session ends after twice its TTL unless it is renewed; what it held cannot be locked for the lock delay", async () => {
  const consul = await openConsul();
  const id = await createSession(consul, { TTL: "10s", LockDelay: "5s" });
  expect(await consul.put(`kv/leader?acquire=${id}`, "me")).toBe(true);
  await consul.clock.advance(15_000);
  expect(await consul.put(`session/renew/${id}`)).toMatchObject([{ ID: id, TTL: "10s", LockDelay: 5_000_000_000 }]);
  await consul.clock.advance(19_000);
  expect(await countSessions(consul)).toBe(1);
  await consul.clock.advance(2000);
  expect(await countSessions(consul)).toBe(0);
  expect((await consul.ask("PUT", `session/renew/${id}`)).text).toBe(`Session id '${id}' not found`);
  expect(await consul.get("kv/leader")).toEqual([expect.not.objectContaining({ Session: id })]);
  const next = await createSession(consul, {});
  expect(await consul.put(`kv/leader?acquire=${next}`, "you")).toBe(false);
  await consul.clock.advance(5000);
  expect(await consul.put(`kv/leader?acquire=${next}`, "you")).toBe(true);
});

test("a session ends when its host goes down or its node is taken away", async () => {
  const consul = await openConsul();
  const hosts = (up: boolean): void =>
    consul.parts.platform.setHosts([hostNamed("n1", { server: true }), hostNamed("h2", { up })]);
  hosts(true);
  await createSession(consul, { Node: "h2", Behavior: "delete" }).then((id) => consul.put(`kv/h2?acquire=${id}`, "x"));
  await consul.put("catalog/register", { Node: "ext", Address: "192.0.2.9" });
  await createSession(consul, { Node: "ext", NodeChecks: [] });
  expect(await countSessions(consul)).toBe(2);
  hosts(false);
  await consul.clock.advance(100);
  expect((await consul.ask("GET", "kv/h2")).status).toBe(404);
  await consul.put("catalog/deregister", { Node: "ext" });
  await consul.clock.advance(100);
  expect(await countSessions(consul)).toBe(0);
});

test.each([
  [{ Node: "nobody" }, 500, "Missing node registration"],
  [{ NodeChecks: ["none"] }, 500, "Missing check 'none' registration"],
  [{ TTL: "5s" }, 500, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"],
  [{ TTL: "soon" }, 500, "Invalid Session TTL 'soon': time: invalid duration \"soon\""],
  [{ Behavior: "keep" }, 500, "Invalid Behavior setting 'keep'"],
  [{ Nmae: "x" }, 400, 'Request decode failed: json: unknown field "Nmae"'],
])("session %p is refused", async (body, status, text) => {
  const consul = await openConsul();
  const answer = await consul.ask("PUT", "session/create", { body });
  expect([answer.status, answer.text]).toEqual([status, text]);
});

test("lock delays below 1000 are seconds, and fields come in any case", async () => {
  const consul = await openConsul();
  const id = await createSession(consul, { lockdelay: 20, name: "n", TTL: "15s" });
  expect(await consul.get(`session/info/${id}`)).toMatchObject([
    { Name: "n", LockDelay: 20_000_000_000, Node: "n1", NodeChecks: ["serfHealth"], ServiceChecks: null },
  ]);
  expect(await consul.get("session/info/none")).toEqual([]);
});

test("a new leader keeps sessions and locks, starts their time anew in full, and so it does with lock delays", async () => {
  const first = await openConsul();
  const [held, over] = [await createSession(first, { TTL: "10s", LockDelay: "5s" }), await createSession(first, {})];
  await first.put(`kv/held?acquire=${held}`, "me");
  await first.put(`kv/over?acquire=${over}`, "me");
  await first.put(`session/destroy/${over}`);
  await first.clock.advance(14_000);
  const second = await first.reopen();
  expect(await second.get("kv/held")).toEqual([expect.objectContaining({ Session: held })]);
  const next = await createSession(second, {});
  // The delay of 15 s has begun anew with the second leader, 14 s after its beginning.
  await second.clock.advance(14_000);
  expect(await second.put(`kv/over?acquire=${next}`, "you")).toBe(false);
  await second.clock.advance(1500);
  expect(await second.put(`kv/over?acquire=${next}`, "you")).toBe(true);
  expect(await countSessions(second)).toBe(2);
  await second.clock.advance(5000);
  expect(await countSessions(second)).toBe(1);
  const third = await second.reopen();
  const last = await createSession(third, {});
  expect(await third.put(`kv/held?acquire=${last}`, "you")).toBe(false);
  await third.clock.advance(6000);
  expect(await third.put(`kv/held?acquire=${last}`, "you")).toBe(true);
  // What is over is not stored any more.
  expect(third.parts.registry.tables.size("lockDelay")).toBe(0);
});
