import { afterAll, beforeAll } from "bun:test";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import type { ContractHost } from "../../src/sim/host-network.contract.ts";
import { hostNetworkContract } from "../../src/sim/host-network.contract.ts";
import { NetworkLab } from "./network-lab.ts";

const lab = new NetworkLab("contract");
let host: ContractHost | null = null;

beforeAll(async () => {
  const [space, wire] = [await lab.addNamespace("host"), await lab.addNamespace("wire")];
  const uplink = { at: space, device: "eth0", address: "192.0.2.1/24" };
  await lab.wire(uplink, { at: wire, device: "eth0" });
  host = {
    network: new LinuxHostNetwork({ runner: space.runner, clock: systemClock }),
    setLinkDown: async (name) => {
      await space.runner.run(["ip", "link", "set", name, "down"]);
    },
  };
});

afterAll(() => lab.close());

hostNetworkContract("LinuxHostNetwork", () => {
  if (host === null) throw new Error("The host was not made");
  return host;
});
