import { afterAll } from "bun:test";
import { LinuxWiring } from "../../src/platform/linux/linux-wiring.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import { testWiring } from "../../src/sim/wiring.contract.ts";
import { NetworkLab } from "./network-lab.ts";

const lab = new NetworkLab("wiring");
const root = new ProcessRunner();
let round = 0;
afterAll(() => lab.close());

testWiring("kernel", async () => {
  round += 1;
  const host = await lab.addNamespace(`h${round}`);
  await host.runner.run(["ip", "link", "add", "apollo0", "type", "bridge"]);
  const [a, b] = [await lab.addNamespace(`a${round}`), await lab.addNamespace(`b${round}`)];
  return {
    wiring: new LinuxWiring({ runner: host.runner }),
    namespaces: [`/run/netns/${a.name}`, `/run/netns/${b.name}`],
    endNamespace: async (path) => {
      await root.run(["ip", "netns", "delete", path.slice("/run/netns/".length)]);
    },
  };
});
