import type { Endpoint } from "./endpoint.ts";
import type { ServiceName } from "./ids.ts";

/** What a test says of an endpoint; all else is plain. */
export type EndpointChange = Partial<Omit<Endpoint, "service">> &
  Pick<Endpoint, "address"> & { readonly service: string };

/** A healthy endpoint of a plain container of host "h1": TCP, port 8080. */
export function endpointOf({ service, ...change }: EndpointChange & Pick<Endpoint, "id">): Endpoint {
  return {
    service: service as ServiceName,
    port: 8080,
    protocol: "tcp",
    tags: [],
    meta: {},
    host: "h1",
    container: change.id,
    instanceId: null,
    appId: null,
    health: "passing",
    ...change,
  };
}
