import type { Endpoint } from "../model/endpoint.ts";
import { parseIpv4 } from "../model/ip.ts";
import { endpointOf } from "../model/endpoint.fixture.ts";

/** A healthy endpoint at "h1 10.2.1.5:8080/tcp". */
export function endpointAt(service: string, place: string, more: Partial<Endpoint> = {}): Endpoint {
  const [, host = "", address = "", port = "", protocol] = /^(\S+) ([0-9.]+):(\d+)\/(tcp|udp)$/.exec(place) ?? [];
  return endpointOf({
    id: `${host}:${service}-${address}:${port}`,
    service,
    address: parseIpv4(address),
    port: Number(port),
    protocol: protocol === "udp" ? "udp" : "tcp",
    host,
    container: `${service}-${address}`,
    ...more,
  });
}
