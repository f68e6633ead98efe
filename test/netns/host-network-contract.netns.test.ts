import { afterAll, beforeAll } from "bun:test";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import type { ContractHost } from "../../src/sim/host-network.contract.ts";
import { CONTRACT_KEYS, hostNetworkContract } from "../../src/sim/host-network.contract.ts";
import { network6Contract } from "../../src/sim/network6.contract.ts";
import { NetworkLab } from "./network-lab.ts";
import { WireguardSpace } from "./wireguard-space.ts";

const lab = new NetworkLab("contract");
let host: ContractHost | null = null;
let own: WireguardSpace | null = null;

beforeAll(async () => {
  const [space, wire] = [await lab.addNamespace("host"), await lab.addNamespace("wire")];
  const uplink = { at: space, device: "eth0", address: "192.0.2.1/24" };
  await lab.wire(uplink, { at: wire, device: "eth0" });
  own = new WireguardSpace(space);
  host = {
    network: new LinuxHostNetwork({
      runner: own.runner,
      clock: systemClock,
      privateKeyOf: (publicKey) => (publicKey === CONTRACT_KEYS.publicKey ? CONTRACT_KEYS.privateKey : null),
    }),
    setLinkDown: async (name) => {
      await space.runner.run(["ip", "link", "set", name, "down"]);
    },
  };
});

afterAll(async () => {
  await own?.close();
  await lab.close();
});

hostNetworkContract("LinuxHostNetwork", () => {
  if (host === null) throw new Error("The host was not made");
  return host;
});

network6Contract("LinuxHostNetwork", () => {
  if (host === null) throw new Error("The host was not made");
  return host;
});
