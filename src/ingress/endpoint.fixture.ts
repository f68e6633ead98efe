import type { Endpoint } from "../model/endpoint.ts";
import { endpointOf } from "../model/endpoint.fixture.ts";

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
  return endpointOf({
    id: `${host}:${container}:${port}`,
    service: "web",
    address: "10.2.1.2",
    ...parts,
    port,
    host,
    container,
  });
}
