/** The server of `npm run bench -- dns`: our listener and zone with the services that the other servers get, too. */
import { DnsServer } from "../src/discovery/dns/dns-server.ts";
import { buildZone } from "../src/discovery/dns/zone.ts";
import type { Endpoint } from "../src/model/endpoint.ts";
import type { ServiceName } from "../src/model/ids.ts";
import { systemRandom } from "../src/platform/clock/system-random.ts";
import { BunListener } from "../src/platform/udp/bun-listener.ts";
import { BENCH_PORT, BENCH_SERVICES } from "./dns-services.ts";

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
const zone = buildZone(endpoints, [], { domain: "consul", datacenter: "dc1", ttlSeconds: 0 });
const server = new DnsServer({ random: systemRandom, zone: () => zone, forwarder: null });
const binding = await new BunListener().bindUdp("127.0.0.1", Number(process.argv.at(-1)), (message, _, reply) =>
  server.answer(message, "udp", reply),
);
console.log(`ready on ${binding.port}`);
