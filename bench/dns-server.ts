/**
 * The server of `npm run bench -- dns`: our listener and zone with the services that the other servers get, too. Arguments: address,
 * port, and, for the kernel to answer as well, the container's wire or "loopback" as JSON and a folder for the programs.
 */
import { DnsServer, type KeepAnswers } from "../src/discovery/dns/dns-server.ts";
import { buildZone } from "../src/discovery/dns/zone.ts";
import type { Endpoint } from "../src/model/endpoint.ts";
import type { ServiceName } from "../src/model/ids.ts";
import { parseIpv4 } from "../src/model/ip.ts";
import type { LocalPort } from "../src/network/local-port.ts";
import { bridgeMac } from "../src/network/mac.ts";
import { planFastPath } from "../src/network/plan-fast-path.ts";
import { systemRandom } from "../src/platform/clock/system-random.ts";
import { readFastPathObject } from "../src/platform/linux/fast-path/fast-path-object.ts";
import { LinuxFastPath } from "../src/platform/linux/fast-path/linux-fast-path.ts";
import { ProcessRunner } from "../src/platform/linux/process-runner.ts";
import { BunListener } from "../src/platform/udp/bun-listener.ts";
import type { LabContainer } from "./dns-lab.ts";
import { BENCH_PORT, BENCH_SERVICES } from "./dns-services.ts";

/** Well within the time that answers are valid. */
const RENEW_MS = 5000;

const endpoints = BENCH_SERVICES.flatMap(({ service, addresses }) =>
  addresses.map((address, index): Endpoint => {
    const id = `h1:${service}-${index}:8080`;
    const name = service as ServiceName;
    const fixed = { tags: [], meta: {}, host: "h1", instanceId: null, appId: null, health: "passing" } as const;
    return {
      ...fixed,
      id,
      service: name,
      address,
      port: BENCH_PORT,
      protocol: "tcp",
      container: `${service}-${index}`,
    };
  }),
);
const [address = "", port = "", asking, bpf = ""] = process.argv.slice(2);
const zone = buildZone(endpoints, [], { domain: "consul", datacenter: "dc1", ttlSeconds: 0 });
const server = new DnsServer({ random: systemRandom, zone: () => zone, forwarder: null });
const keep = asking === undefined ? null : await keepInKernel(JSON.parse(asking) as LabContainer["port"] | "loopback");
const binding = await new BunListener().bindUdp(address, Number(port), (message, _, reply) =>
  server.answer(message, "udp", reply, keep),
);
console.log(`ready on ${binding.port}`);

/** As the agent does it: programs at loopback and at the wire, and answers for as long as this process lives. */
async function keepInKernel(from: LabContainer["port"] | "loopback"): Promise<KeepAnswers> {
  const gateway = parseIpv4(address);
  const fastPath = new LinuxFastPath({ runner: new ProcessRunner(), directory: bpf, object: readFastPathObject });
  await fastPath.open();
  const desired = {
    blocks: ["10.2.1.0/24"],
    gatewayMac: bridgeMac(gateway),
    ports: from === "loopback" ? [] : [wireOf(from)],
    peers: [],
    slow: [],
    virtual: [],
  };
  for (const action of planFastPath(desired, await fastPath.observe())) await fastPath.apply(action);
  const renew = (): void => fastPath.answers.renew(gateway, [{ address: gateway, port: Number(port) }]);
  renew();
  setInterval(renew, RENEW_MS);
  return (question, answers) => fastPath.answers.put(question, answers);
}

function wireOf({ device, index, mac, address: own }: LabContainer["port"]): LocalPort {
  return { network: "apollo", device, index, mac, addresses: [parseIpv4(own)], container: "c" };
}
