import type { CatalogHost } from "../../model/endpoint.ts";
import { AppError } from "../../model/error.ts";
import type { Holder } from "../../model/holder.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";
import { isIpv6 } from "../../model/ip6.ts";
import { appName } from "./choose-holders.ts";

/** One end of a connection that somebody asks about. */
export interface Party {
  /** How it was found. */
  readonly kind: "app" | "service" | "instance" | "container" | "host" | "address";
  readonly name: string;
  readonly addresses: readonly Ipv4[];
  /** For a rule: `app=/web`. */
  readonly selector: string;
}

export interface KnownParties {
  readonly holders: readonly Holder[];
  readonly hosts: readonly CatalogHost[];
  /** All that a host sends from, by its name. */
  readonly hostAddresses: ReadonlyMap<string, readonly Ipv4[]>;
}

/** Whom a name means: an address, `host:NAME`, an app, a service, an instance or a container. @throws AppError `not-found`. */
export function chooseParty(text: string, { holders, hosts, hostAddresses }: KnownParties): Party {
  if (isIpv4(text)) return addressParty(text, holders, hostAddresses);
  if (isIpv6(text)) return address6Party(text, { holders, hosts, hostAddresses });
  if (text.startsWith("host:")) {
    const name = text.slice("host:".length);
    const addresses = hostAddresses.get(name);
    if (addresses === undefined) {
      const hint = `Hosts are: ${hosts.map((host) => host.name).join(", ")}`;
      throw new AppError("not-found", `Cannot find host "${name}"`, { hint });
    }
    return { kind: "host", name, addresses, selector: "host=any" };
  }
  const found = [
    ["app", holders.filter(({ app }) => app !== null && app === appName(text))],
    ["service", holders.filter(({ services }) => services.includes(text.toLowerCase()))],
    ["instance", holders.filter(({ instance }) => instance !== null && isInstance(instance, text))],
    ["container", holders.filter(({ container, id }) => container === text || id.startsWith(`${text}:`))],
  ] as const;
  for (const [kind, those] of found) {
    const [first] = those;
    if (first === undefined) continue;
    const addresses = [...new Set(those.map(({ address }) => address))];
    const selector =
      kind === "app" || kind === "service" ? `${kind}=${kind === "app" ? appName(text) : text}` : selectorOf(first);
    return { kind, name: text, addresses, selector };
  }
  throw new AppError(
    "not-found",
    `Cannot find "${text}": no app, service, instance or container with an address has that name`,
    {
      hint: 'See them with "apollo ps", or give an address, or host:NAME',
    },
  );
}

/** Its id, or the first part of its UUID, as it is shown. */
function isInstance(id: string, text: string): boolean {
  return id === text || (text.length >= 8 && id.includes(`.instance-${text}`));
}

function addressParty(address: Ipv4, holders: readonly Holder[], hosts: KnownParties["hostAddresses"]): Party {
  const holder = holders.find((one) => one.address === address);
  const host = [...hosts].find(([, addresses]) => addresses.includes(address));
  const selector = host === undefined ? `cidr=${address}/32` : "host=any";
  return {
    kind: "address",
    name: address,
    addresses: [address],
    selector: holder === undefined ? selector : selectorOf(holder),
  };
}

/** Rules are planned in IPv4: a container is found by its IPv6 address, and judged by the other. */
function address6Party(text: Ipv6, { holders, hostAddresses }: KnownParties): Party {
  const holder = holders.find(({ address6 }) => address6 === text);
  if (holder !== undefined) return { ...addressParty(holder.address, holders, hostAddresses), name: text };
  return { kind: "address", name: text, addresses: [], selector: "host=any" };
}

/** The widest that still means this container: what is true of its siblings is most often meant for them as well. */
function selectorOf({ app, services, address }: Holder): string {
  const [service] = services;
  if (app !== null) return `app=${app}`;
  return service === undefined ? `cidr=${address}/32` : `service=${service}`;
}
