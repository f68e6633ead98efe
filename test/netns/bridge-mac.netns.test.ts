import { afterAll, expect, test } from "bun:test";
import type { Ipv4 } from "../../src/model/ip.ts";
import { bridgeMac } from "../../src/network/mac.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import { NetworkLab } from "./network-lab.ts";

const lab = new NetworkLab("mac");
afterAll(() => lab.close());

test("the bridge keeps its MAC when ports come and go: containers that stay have it in their neighbour tables", async () => {
  const { runner } = await lab.addNamespace("host");
  const network = new LinuxHostNetwork({ runner, clock: systemClock });
  const gateway = "10.2.1.1" as Ipv4;
  const mac = bridgeMac(gateway);
  await network.apply({ kind: "add-bridge", name: "apollo0", address: gateway, prefix: 16, mac, mtu: 1500 });
  // The lowest MAC there can be: a bridge that takes its ports' lowest would take this one.
  const port = ["ip", "link", "add", "port0", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "port1"];
  await runner.run(port);
  await runner.run(["ip", "link", "set", "port0", "master", "apollo0", "up"]);
  const show = await runner.run(["ip", "-o", "link", "show", "dev", "apollo0"]);
  expect(show.stdout).toContain(`link/ether ${mac} `);
});
