import { describe, expect, test } from "bun:test";
import { AddressLife } from "./address-life.ts";

const MINUTE_MS = 60_000;

describe("addresses", () => {
  test("300 instances on hosts with blocks of sixteen: none shared, over restarts, a removal and a return", async () => {
    const life = new AddressLife({ seed: 1, hosts: 4, range: "10.2.0.0/20", blockPrefix: 28 });
    await life.start();
    const [first = fail(), ...others] = life.machines;
    expect(life.blocksOf(first)).toEqual(["10.2.0.16/28"]);
    await life.scale(300);
    await life.pass(3000);
    await life.restartServer(1500);
    await life.until("300 instances", () => life.running() === 300, 5 * MINUTE_MS);
    expect(life.blocksOf(first).length).toBeGreaterThan(1);
    const epochs = (await life.leases()).map(({ epoch }) => epoch);
    expect(new Set(epochs).size).toBe(epochs.length);

    // A host that is cut off is removed; its blocks go to others while its containers still run.
    first.killAgent();
    await life.pass(5000);
    await life.remove(first);
    const onOthers = (): number => others.reduce((sum, each) => sum + runningOn(each), 0);
    await life.until("300 instances elsewhere", () => onOthers() === 300, 5 * MINUTE_MS);
    first.startAgent();
    await life.until("the old containers gone", () => runningOn(first) === 0, MINUTE_MS);
    const told = first.agent?.running?.state;
    expect(told?.conditions().map(({ code }) => code)).toEqual(["host-removed"]);
    expect([told?.isRemoved(), told?.endpoints(), told?.peers.size, first.ownRoutes()]).toEqual([true, [], 0, []]);
    first.killAgent();
    first.file.text = null;
    await life.join(first);
    await life.until("it serves again", () => first.agent?.running?.state.connected === true, MINUTE_MS);
    const renewed = (await life.leases()).filter(({ hostId }) => hostId === life.idOf(first));
    expect(renewed.length).toBeGreaterThan(0);
    expect(Math.min(...renewed.map(({ epoch }) => epoch))).toBeGreaterThan(Math.max(...epochs));
    expect(Math.min(...(await life.leases()).map(({ epoch }) => epoch))).toBeGreaterThan(0);

    // What is not used any more comes back, the first block of each host excepted.
    await life.scale(8);
    await life.until("8 instances", () => life.running() === 8, 5 * MINUTE_MS);
    await life.until(
      "few blocks a host",
      () => life.machines.every((each) => life.blocksOf(each).length <= 3),
      30 * MINUTE_MS,
    );
    expect(life.heldMax).toBeGreaterThanOrEqual(300);
    expect([...life.broken]).toEqual([]);
    await life.end();
  }, 180_000);

  test("a range that is used up is told, and an instance that ends makes room", async () => {
    const life = new AddressLife({ seed: 2, hosts: 2, range: "10.2.0.0/27", blockPrefix: 28 });
    await life.start();
    await life.scale(40);
    await life.pass(MINUTE_MS);
    expect(life.running()).toBe(26);
    const conditions = life.machines.flatMap((each) => each.agent?.running?.state.conditions() ?? []);
    expect(conditions.map(({ code }) => code)).toContain("addresses-exhausted");
    expect(conditions[0]?.hint).toContain("apollo host remove");
    expect([...life.broken]).toEqual([]);
    await life.end();
  }, 180_000);
});

function fail(): never {
  throw new Error("there are no machines");
}

function runningOn(machine: AddressLife["machines"][number]): number {
  return machine.containers().filter(({ state }) => state === "running").length;
}
