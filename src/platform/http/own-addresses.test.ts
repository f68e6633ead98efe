import { expect, test } from "bun:test";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { systemClock } from "../clock/system-clock.ts";
import { OwnAddresses } from "./own-addresses.ts";

test("this machine has its loopback address, and no documentation address of others", () => {
  const own = new OwnAddresses(systemClock);
  expect(["127.0.0.1", "::ffff:127.0.0.1", "203.0.113.77", ""].map((each) => own.has(each))).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

test("an address that came or went is noticed after a second, and the kernel is not asked more often", async () => {
  const clock = new VirtualClock();
  let asked = 0;
  let addresses = ["192.0.2.1"];
  const own = new OwnAddresses(clock, () => {
    asked += 1;
    return addresses;
  });
  expect([own.has("192.0.2.1"), own.has("192.0.2.2"), asked]).toEqual([true, false, 1]);
  addresses = ["192.0.2.2"];
  expect([own.has("192.0.2.1"), asked]).toEqual([true, 1]);
  await clock.advance(1000);
  expect([own.has("192.0.2.1"), own.has("::ffff:192.0.2.2"), asked]).toEqual([false, true, 2]);
});
