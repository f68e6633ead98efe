import { afterAll, expect, test } from "bun:test";
import type { Ipv4 } from "../../src/model/ip.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import { NetworkLab } from "./network-lab.ts";

const lab = new NetworkLab("mac");
afterAll(() => lab.close());

test("the bridge keeps its MAC when ports come and go: containers that stay have it in their neighbour tables", async () => {
  const { runner } = await lab.addNamespace("host");
  const network = new LinuxHostNetwork({ runner, clock: systemClock });
  await network.apply({ kind: "add-bridge", name: "apollo0", address: "10.2.1.1" as Ipv4, prefix: 16, mtu: 1500 });

  const mac = "0a:71:0a:02:01:01";
  // The lowest MAC there can be: a bridge that takes its ports' lowest would take this one.
  const port = ["ip", "link", "add", "port0", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "port1"];
  await runner.run(port);
  await runner.run(["ip", "link", "set", "port0", "master", "apollo0", "up"]);
  const show = await runner.run(["ip", "-o", "link", "show", "dev", "apollo0"]);
  expect(show.stdout).toContain(`link/ether ${mac} `);
});
