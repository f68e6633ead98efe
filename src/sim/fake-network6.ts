import { AppError } from "../model/error.ts";
import type { Ipv6 } from "../model/ip6.ts";
import { cidr6Contains, formatCidr6, ipv6ToNumber, parseCidr6 } from "../model/ip6.ts";
import type {
  NetworkAction,
  NetworkAddress6,
  NetworkNeighbour6,
  NetworkRoute6,
  NetworkState6,
} from "../platform/ports/host-network.ts";

export type Network6Action = Extract<NetworkAction, { kind: `${string}6` }>;

export const FORWARD6_KEY = "net/ipv6/conf/all/forwarding";

export function deviceSysctls6(name: string): readonly (readonly [string, string])[] {
  return [
    [`net/ipv6/conf/${name}/disable_ipv6`, "0"],
    [`net/ipv6/conf/${name}/accept_ra`, "1"],
    [`net/ipv6/conf/${name}/accept_dad`, "1"],
  ];
}

const KINDS: ReadonlySet<string> = new Set([
  "add-address6",
  "delete-address6",
  "put-route6",
  "delete-route6",
  "put-neighbour6",
  "delete-neighbour6",
] satisfies readonly Network6Action["kind"][]);

export function isNetwork6Action(action: NetworkAction): action is Network6Action {
  return KINDS.has(action.kind);
}

/** The IPv6 half of `FakeHostNetwork`: addresses, routes and permanent neighbours, as strict as the kernel with them. */
export class FakeNetwork6 {
  #addresses: NetworkAddress6[] = [];
  readonly #routes = new Map<string, NetworkRoute6>();
  #neighbours: NetworkNeighbour6[] = [];

  observe(): Omit<NetworkState6, "announced"> {
    return { addresses: [...this.#addresses], routes: [...this.#routes.values()], neighbours: [...this.#neighbours] };
  }

  apply(action: Network6Action, isUp: (device: string) => boolean): void {
    switch (action.kind) {
      case "add-address6":
        return this.#addAddress(action, isUp);
      case "delete-address6": {
        const { device, address, prefix } = action;
        this.#removeAddress(device, address, prefix);
        return;
      }
      case "put-route6":
        return this.#putRoute(action.route, isUp);
      case "delete-route6": {
        const route = this.#routes.get(action.destination);
        if (route === undefined || route.device !== action.device || !route.marked) throw refusal("No such process");
        this.#routes.delete(action.destination);
        return;
      }
      case "put-neighbour6": {
        const { device, address, mac } = action;
        if (!isUp(device)) throw refusal("Network is down");
        this.#neighbours = this.#neighbours.filter((entry) => entry.device !== device || entry.address !== address);
        this.#neighbours.push({ device, address, mac });
        return;
      }
      case "delete-neighbour6": {
        const before = this.#neighbours.length;
        this.#neighbours = this.#neighbours.filter(
          (entry) => entry.device !== action.device || entry.address !== action.address,
        );
        if (this.#neighbours.length === before) throw refusal("No such file or directory");
        return;
      }
    }
  }

  /** A device that is gone takes all of it along. */
  forget(device: string): void {
    this.#addresses = this.#addresses.filter((entry) => entry.device !== device);
    this.#neighbours = this.#neighbours.filter((entry) => entry.device !== device);
    for (const [key, route] of this.#routes) if (route.device === device) this.#routes.delete(key);
    this.#dropSources();
  }

  lines(): readonly string[] {
    return [
      ...this.#addresses.map(({ device, address, prefix }) => `address6 ${address}/${prefix} dev ${device}`),
      ...[...this.#routes.values()].map(
        ({ destination, via, device, source, mtu, onlink, marked }) =>
          `route6 ${destination}${via === null ? "" : ` via ${via}`} dev ${device}${source === null ? "" : ` src ${source}`}` +
          `${mtu === null ? "" : ` mtu ${mtu}`}${onlink ? " onlink" : ""}${marked ? " ours" : ""}`,
      ),
      ...this.#neighbours.map(({ device, address, mac }) => `neighbour6 ${address} ${mac} dev ${device}`),
    ];
  }

  #addAddress({ device, address, prefix }: NetworkAddress6, isUp: (device: string) => boolean): void {
    if (!isUp(device)) throw refusal(`Cannot find device "${device}"`);
    if (this.#addresses.some((entry) => entry.device === device && entry.address === address)) {
      throw refusal("File exists");
    }
    this.#addresses.push({ device, address, prefix });
    const destination = networkOf({ address, prefix });
    const route = { destination, via: null, device, source: null, mtu: null, onlink: false, marked: false };
    // The kernel has one of these for each device; nobody here looks at link-local ones.
    if (!this.#routes.has(destination)) this.#routes.set(destination, route);
  }

  #removeAddress(device: string, address: Ipv6, prefix: number): void {
    const before = this.#addresses.length;
    this.#addresses = this.#addresses.filter(
      (entry) => entry.device !== device || entry.address !== address || entry.prefix !== prefix,
    );
    if (this.#addresses.length === before) throw refusal("Cannot assign requested address");
    const destination = networkOf({ address, prefix });
    const shared = this.#addresses.some((entry) => entry.device === device && networkOf(entry) === destination);
    if (!shared && this.#routes.get(destination)?.device === device) this.#routes.delete(destination);
    this.#dropSources();
  }

  #putRoute(route: Omit<NetworkRoute6, "marked">, isUp: (device: string) => boolean): void {
    parseCidr6(route.destination);
    if (!isUp(route.device)) throw refusal("Network is down");
    const { via, source } = route;
    const near = this.#addresses.filter(({ device }) => device === route.device);
    const linkLocal = via?.startsWith("fe80:") === true;
    if (via !== null && !route.onlink && !linkLocal && !near.some((entry) => contains(entry, via))) {
      throw refusal("Nexthop has invalid gateway");
    }
    if (source !== null && !this.#addresses.some(({ address }) => address === source)) {
      throw refusal("Invalid source address.");
    }
    this.#routes.set(route.destination, { ...route, marked: true });
  }

  /** Unlike IPv4's, a route outlives the address that it names as its source. */
  #dropSources(): void {
    const own = new Set(this.#addresses.map(({ address }) => address));
    for (const [key, route] of this.#routes) {
      if (route.source !== null && !own.has(route.source)) this.#routes.set(key, { ...route, source: null });
    }
  }
}

function contains(entry: NetworkAddress6, via: Ipv6): boolean {
  return cidr6Contains(parseCidr6(networkOf(entry)), via);
}

function networkOf({ address, prefix }: Pick<NetworkAddress6, "address" | "prefix">): string {
  const host = BigInt(128 - prefix);
  return formatCidr6({ first: (ipv6ToNumber(address) >> host) << host, prefix });
}

function refusal(what: string): AppError {
  return new AppError("unavailable", `Cannot change the network: ${what}`);
}
