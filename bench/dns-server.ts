/**
 * The server of `npm run bench -- dns`: our listener and zone with the services that the other servers get, too. Arguments: address,
 * port, and, for the kernel to answer as well, the container's wire as JSON and a folder for the programs.
 */
import { DnsServer, type KeepAnswers } from "../src/discovery/dns/dns-server.ts";
import { buildZone } from "../src/discovery/dns/zone.ts";
import type { Endpoint } from "../src/model/endpoint.ts";
import type { ServiceName } from "../src/model/ids.ts";
import { parseIpv4 } from "../src/model/ip.ts";
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
const [address = "", port = "", wire, bpf = ""] = process.argv.slice(2);
const zone = buildZone(endpoints, [], { domain: "consul", datacenter: "dc1", ttlSeconds: 0 });
const server = new DnsServer({ random: systemRandom, zone: () => zone, forwarder: null });
const keep = wire === undefined ? null : await keepInKernel(address, JSON.parse(wire) as LabContainer["port"]);
const binding = await new BunListener().bindUdp(address, Number(port), (message, _, reply) =>
  server.answer(message, "udp", reply, keep),
);
console.log(`ready on ${binding.port}`);

/** As the agent does it: programs at the wire, and answers for as long as this process lives. */
async function keepInKernel(
  gateway: string,
  { device, index, mac, address: own }: LabContainer["port"],
): Promise<KeepAnswers> {
  const fastPath = new LinuxFastPath({ runner: new ProcessRunner(), directory: bpf, object: readFastPathObject });
  await fastPath.open();
  const blocks = ["10.2.1.0/24"];
  const wired = { network: "apollo", device, index, mac, addresses: [parseIpv4(own)], container: "c" };
  const gatewayMac = bridgeMac(parseIpv4(gateway));
  const desired = { blocks, gatewayMac, ports: [wired], peers: [], slow: [], virtual: [] };
  for (const action of planFastPath(desired, await fastPath.observe())) await fastPath.apply(action);
  const renew = (): void => fastPath.answers.renew(parseIpv4(gateway), []);
  renew();
  setInterval(renew, RENEW_MS);
  return (question, answers) => fastPath.answers.put(question, answers);
}
