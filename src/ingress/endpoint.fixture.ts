import type { Endpoint } from "../model/endpoint.ts";
import { parseServiceName } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";

export interface EndpointParts {
  readonly service?: string;
  readonly address?: string;
  readonly port?: number;
  readonly container?: string;
  readonly host?: string;
  readonly protocol?: "tcp" | "udp";
  readonly health?: Endpoint["health"];
  readonly meta?: Readonly<Record<string, string>>;
}

/** An endpoint for tests: a passing web container unless told otherwise. */
export function endpointFixture(parts: EndpointParts = {}): Endpoint {
  const { container = "web-1", port = 8080, host = "host-1" } = parts;
  return {
    id: `${host}:${container}:${port}`,
    service: parseServiceName(parts.service ?? "web"),
    address: parseIpv4(parts.address ?? "10.2.1.2"),
    port,
    protocol: parts.protocol ?? "tcp",
    tags: [],
    meta: parts.meta ?? {},
    host,
    container,
    instanceId: null,
    appId: null,
    health: parts.health ?? "passing",
  };
}
