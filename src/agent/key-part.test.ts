import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import type { HostKeys } from "../platform/ports/host-keys.ts";
import { recordingLog } from "../sim/agent-fixtures.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AgentState } from "./agent-state.ts";
import { createKeyPart } from "./key-part.ts";

const DAY_MS = 86_400_000;

/** Keys by number. */
class FakeKeys implements HostKeys {
  full = false;
  #generation = 1;
  #sinceMs = 0;
  announced = () => ({ publicKey: `K${this.#generation}`, nextPublicKey: `K${this.#generation + 1}` });
  sinceMs = (): number => this.#sinceMs;
  privateKeyOf = (publicKey: string): string | null => (publicKey === `K${this.#generation}` ? "secret" : null);
  rotate(nowMs: number) {
    if (this.full) throw new AppError("unavailable", "Cannot write keys: no space");
    this.#generation += 1;
    this.#sinceMs = nowMs;
    return this.announced();
  }
}

function open(keys: HostKeys | AppError, rotateEveryMs = 30 * DAY_MS) {
  const [clock, state, log, abort] = [new VirtualClock(), new AgentState(), recordingLog(), new AbortController()];
  const part = createKeyPart({
    state,
    clock,
    log,
    rotateEveryMs,
    openKeys: () => {
      if (keys instanceof AppError) throw keys;
      return keys;
    },
  });
  const running = part.run(abort.signal);
  const stop = async (): Promise<void> => {
    abort.abort();
    await running;
  };
  const ask = (fields: object) => state.queries.ask({ kind: "rotate-keys", ...fields }, abort.signal);
  return { part, clock, state, stop, ask };
}

test("keys are known from the start, and change by age while a server hears of it", async () => {
  const { part, clock, state, stop } = open(new FakeKeys(), DAY_MS);
  expect(state.keys).toEqual({ publicKey: "K1", nextPublicKey: "K2" });
  expect(part.privateKeyOf("K1")).toBe("secret");
  await clock.advance(DAY_MS + 60_000);
  expect(state.keys?.publicKey).toBe("K1");
  let told = 0;
  state.on("keys", () => (told += 1));
  state.connected = true;
  await clock.advance(60_000);
  expect(state.keys).toEqual({ publicKey: "K2", nextPublicKey: "K3" });
  expect(told).toBe(1);
  await clock.advance(DAY_MS - 120_000);
  expect(state.keys?.publicKey).toBe("K2");
  await stop();
});

test("keys change when asked, at once, and past the next one when they leaked", async () => {
  const { state, stop, ask } = open(new FakeKeys());
  expect(await ask({})).toEqual({ publicKey: "K2", nextPublicKey: "K3" });
  expect(state.keys?.publicKey).toBe("K2");
  expect(await ask({ leaked: true })).toEqual({ publicKey: "K4", nextPublicKey: "K5" });
  expect(ask({ leaked: "yes" })).rejects.toThrow(/must be true or false/);
  await stop();
});

test("a disk that is full today leaves the old key in use until it is not", async () => {
  const keys = new FakeKeys();
  const { clock, state, stop } = open(keys, DAY_MS);
  state.connected = true;
  keys.full = true;
  await clock.advance(DAY_MS + 60_000);
  expect(state.keys?.publicKey).toBe("K1");
  keys.full = false;
  await clock.advance(60_000);
  expect(state.keys?.publicKey).toBe("K2");
  await stop();
});

test("keys never change by age when they are not to", async () => {
  const { clock, state, stop } = open(new FakeKeys(), 0);
  state.connected = true;
  await clock.advance(90 * DAY_MS);
  expect(state.keys?.publicKey).toBe("K1");
  await stop();
}, 20_000);

test("a file that cannot be read is a condition, and no reason to do without the rest of the agent", async () => {
  const fault = new AppError("unavailable", "Cannot read keys", { hint: "Remove the file" });
  const { part, state, stop, ask } = open(fault);
  expect(state.keys).toBeNull();
  expect(part.privateKeyOf("K1")).toBeNull();
  expect(state.conditions()).toEqual([
    {
      code: "keys-unreadable",
      severity: "error",
      text: "Cannot read keys",
      hint: "Remove the file; then restart the agent",
    },
  ]);
  expect(ask({})).rejects.toThrow(/this host has none/);
  await stop();
});
