/**
 * Names of containers, as WeaveDNS has them: whoever is on the network is found by its name, service or not. A container
 * with endpoints is found by those already; the others get an endpoint that is nothing but a name.
 */
import { type Container, LABEL_INSTANCE } from "../../model/container.ts";
import { type Endpoint, META_NAME_ONLY } from "../../model/endpoint.ts";
import type { InstanceId } from "../../model/ids.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";
import { type RegistrationContext, address6Of, addressOf, readName } from "./derive-endpoints.ts";

export interface NameSources {
  readonly context: RegistrationContext;
  /** What `deriveEndpoints` made of the same containers. */
  readonly services: readonly Endpoint[];
  /** Names that were declared: attachments and exposed addresses. */
  readonly declared: readonly { readonly name: string; readonly address: Ipv4; readonly address6?: Ipv6 | null }[];
}

/** Sorted by id. Names that DNS cannot have are left out. */
export function deriveNames(containers: readonly Container[], sources: NameSources): readonly Endpoint[] {
  const { context, services, declared } = sources;
  const known = new Set(services.map(({ container }) => container));
  const made = new Map<string, Endpoint>();
  const add = (name: string, address: Ipv4, container: string, address6: Ipv6 | null = null): void => {
    const endpoint = nameEndpoint(name, address, { container, host: context.hostName, address6 });
    if (endpoint !== null) made.set(endpoint.id, endpoint);
  };
  for (const container of containers) {
    const address = addressOf(container, context);
    if (address === null || !takesPart(container, context)) continue;
    const address6 = address6Of(container, context);
    if (!known.has(container.name)) add(container.name, address, container.name, address6);
    const networks = [context.engineNetworkName, ...context.otherNetworks];
    for (const alias of networks.flatMap((network) => container.aliases?.[network] ?? [])) {
      if (alias !== container.name) add(alias, address, container.name, address6);
    }
  }
  for (const { name, address, address6 = null } of declared) add(name, address, name, address6);
  return [...made.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** One of ours whose assignment is gone or going is named no longer, like its services. */
function takesPart(container: Container, context: RegistrationContext): boolean {
  if (container.state !== "running") return false;
  const instance = container.labels[LABEL_INSTANCE];
  return instance === undefined || context.assignments.get(instance as InstanceId)?.instance.goal === "running";
}

function nameEndpoint(
  text: string,
  address: Ipv4,
  owner: { readonly container: string; readonly host: string; readonly address6: Ipv6 | null },
): Endpoint | null {
  const service = readName(text);
  if (service === null) return null;
  const { container, host, address6 } = owner;
  return {
    id: `${host}:name:${service}:${address}`,
    service,
    address,
    ...(address6 === null ? {} : { address6 }),
    port: 0,
    protocol: "tcp",
    tags: [],
    meta: { [META_NAME_ONLY]: "yes" },
    host,
    container,
    instanceId: null,
    appId: null,
    health: "passing",
  };
}
