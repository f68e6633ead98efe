import { afterAll, expect, test } from "bun:test";
import { LinkLab } from "./link-lab.ts";
import { answersNoPing, pings } from "./network-lab.ts";

const lab = new LinkLab("jumbo");

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("an underlay of 9000 bytes is found and used, direct and through VXLAN", async () => {
  const names = ["a", "b", "r3"];
  await lab.open(names, { mtu: 9000 });
  for (const name of names) lab.start(name);
  await lab.until("MTUs are measured", () => lab.link("a", "b")?.mtu === 9000 && lab.link("a", "r3")?.mtu === 8950);
  await lab.until("links answer", () => lab.link("a", "b")?.up === true && lab.link("a", "r3")?.up === true);
  expect([lab.link("a", "b")?.mode, lab.link("a", "r3")?.mode]).toEqual(["direct", "vxlan"]);
  const sender = await lab.addContainer("a");
  for (const name of ["b", "r3"]) await lab.addContainer(name);
  for (const space of [sender]) await space.runner.run(["ip", "link", "set", "eth0", "mtu", "9000"]);
  // The containers' own wires are as wide as the lab makes them; what is asked here is the way between hosts.
  await lab.space("a").runner.run(["ip", "link", "set", "veth-a5", "mtu", "9000"]);
  expect(await pings(lab.space("a"), "10.2.2.1", 9000)).toBe(2);
  expect(await pings(lab.space("a"), "10.2.3.1", 8950)).toBe(2);
  expect(await answersNoPing(lab.space("a"), "10.2.3.1", 8951)).toBe(true);
}, 90_000);
