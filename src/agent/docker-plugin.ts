import { z } from "zod";
import { AppError, unreachable } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import { isIpv6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import type { AddressSource } from "../network/address-source.ts";
import { containerMac, wireDevice } from "../network/attachment.ts";
import type { PluginCall } from "../network/parse-plugin-call.ts";
import { parsePluginAddress, readNetworkOption } from "../network/parse-plugin-call.ts";
import type { Wire6 } from "../network/wire6.ts";
import { wireEnd6 } from "../network/wire6.ts";
import { Turns } from "../platform/loop/turns.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { Wiring } from "../platform/ports/wiring.ts";
import type { BridgeFor } from "./local-network.ts";
import { requireNetwork } from "./local-network.ts";

export interface DockerPluginOptions {
  readonly wiring: Wiring;
  readonly book: AddressSource;
  readonly file: StateFile;
  readonly bridgeFor: BridgeFor;
}

const ipv4 = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value));
const ipv6 = z.custom<Ipv6>((value) => typeof value === "string" && isIpv6(value));
const shape = z.object({
  /** Our network by the engine's network id. */
  networks: z.record(z.string(), z.string()),
  endpoints: z.record(
    z.string(),
    z.object({ network: z.string(), address: ipv4, address6: ipv6.optional(), mac: z.string() }),
  ),
});
export type PluginState = z.infer<typeof shape>;

const ADDRESS_SPACE = "apollo";
const POOL = "apollo/";
/** Types of libnetwork's static routes: by a next hop, and on the wire. */
const [BY_HOP, ON_WIRE] = [0, 1];
/** Owners of addresses that the engine asked for. It lets them go by address, so the rest of the name is only a number. */
export const ENGINE_OWNER = "engine:";
const CREATE = "docker network create -d apollo --ipam-driver apollo";

/**
 * Answers the container engine's calls for networks of driver `apollo`. None of them asks the engine anything: it waits
 * for us with its locks held.
 */
export class DockerPlugin {
  readonly #options: DockerPluginOptions;
  readonly #turns = new Turns();
  #state: PluginState | null = null;

  constructor(options: DockerPluginOptions) {
    this.#options = options;
  }

  /** One call at a time, in the order they came. @throws AppError with what the user is to do. */
  answer(request: PluginCall): Promise<object> {
    return this.#turns.take(() => this.#answer(request));
  }

  state(): Promise<PluginState> {
    return this.#turns.take(() => this.#load());
  }

  async #answer(request: PluginCall): Promise<object> {
    switch (request.call) {
      case "Plugin.Activate":
        return { Implements: ["NetworkDriver", "IpamDriver"] };
      case "NetworkDriver.GetCapabilities":
        return { Scope: "local", ConnectivityScope: "global" };
      case "NetworkDriver.CreateNetwork":
        return this.#createNetwork(request.body);
      case "NetworkDriver.DeleteNetwork":
        return this.#change((state) => ({ ...state, networks: without(state.networks, request.body.NetworkID) }));
      case "NetworkDriver.CreateEndpoint":
        return this.#createEndpoint(request.body);
      case "NetworkDriver.DeleteEndpoint":
        await this.#options.wiring.disconnect(deviceOf(request.body.EndpointID));
        return this.#change((state) => ({ ...state, endpoints: without(state.endpoints, request.body.EndpointID) }));
      case "NetworkDriver.EndpointOperInfo":
        return { Value: {} };
      case "NetworkDriver.Join":
        return this.#join(request.body);
      case "NetworkDriver.Leave":
        await this.#options.wiring.disconnect(deviceOf(request.body.EndpointID));
        return {};
      case "NetworkDriver.DiscoverNew":
      case "NetworkDriver.DiscoverDelete":
      case "NetworkDriver.ProgramExternalConnectivity":
      case "NetworkDriver.RevokeExternalConnectivity":
      case "IpamDriver.ReleasePool":
        return {};
      case "IpamDriver.GetCapabilities":
        return { RequiresMACAddress: false, RequiresRequestReplay: false };
      case "IpamDriver.GetDefaultAddressSpaces":
        return { LocalDefaultAddressSpace: ADDRESS_SPACE, GlobalDefaultAddressSpace: ADDRESS_SPACE };
      case "IpamDriver.RequestPool":
        return this.#requestPool(request.body);
      case "IpamDriver.RequestAddress":
        return this.#requestAddress(request.body);
      case "IpamDriver.ReleaseAddress":
        return this.#releaseAddress(request.body);
      default:
        return unreachable(request, "plugin call");
    }
  }

  async #createNetwork(body: Extract<PluginCall, { call: "NetworkDriver.CreateNetwork" }>["body"]): Promise<object> {
    const name = readNetworkOption(body.Options) ?? DEFAULT_NETWORK;
    const { range } = requireNetwork(this.#options.bridgeFor, name);
    const pools = body.IPv4Data ?? [];
    if (pools.length !== 1 || pools.some(({ AddressSpace: space }) => space !== ADDRESS_SPACE)) {
      throw new AppError("invalid", "Cannot create the network: its addresses must come from Apollo, too", {
        hint: `${CREATE} --subnet ${range} NAME`,
      });
    }
    if ((body.IPv6Data ?? []).length > 0) throw chosenByUs();
    return this.#change((state) => ({ ...state, networks: { ...state.networks, [body.NetworkID]: name } }));
  }

  async #createEndpoint(body: Extract<PluginCall, { call: "NetworkDriver.CreateEndpoint" }>["body"]): Promise<object> {
    const address = parsePluginAddress(body.Interface?.Address ?? "");
    if (address === null) throw new AppError("invalid", "Cannot create the endpoint: it has no address");
    const given = body.Interface?.MacAddress ?? "";
    const mac = given === "" ? containerMac(address) : given;
    const { networks } = await this.#load();
    const network = networks[body.NetworkID] ?? DEFAULT_NETWORK;
    const six = this.#six(network);
    const end = six === null ? null : wireEnd6(six, address);
    const endpoint = { network, address, ...(end === null ? {} : { address6: end.address }), mac };
    await this.#change((state) => ({ ...state, endpoints: { ...state.endpoints, [body.EndpointID]: endpoint } }));
    // What the engine chose itself must not be said again. It takes an IPv6 address from us whether its network has IPv6 or not.
    return {
      Interface: {
        ...(given === "" ? { MacAddress: mac } : {}),
        ...(end === null ? {} : { AddressIPv6: `${end.address}/${end.prefix}` }),
      },
    };
  }

  async #join(body: Extract<PluginCall, { call: "NetworkDriver.Join" }>["body"]): Promise<object> {
    const { wiring, bridgeFor } = this.#options;
    const { networks, endpoints } = await this.#load();
    const endpoint = endpoints[body.EndpointID];
    if (endpoint === undefined) {
      throw new AppError("not-found", "Cannot join the network: Apollo does not know this endpoint", {
        hint: "Start the container again",
      });
    }
    const { bridge, gateway, layer2, six } = requireNetwork(bridgeFor, networks[body.NetworkID] ?? endpoint.network);
    const [device, far] = [deviceOf(body.EndpointID), farDeviceOf(body.EndpointID)];
    // Left behind by a join that the engine gave up.
    await wiring.disconnect(device);
    await wiring.connectLoose({ device, far, bridge, mac: endpoint.mac });
    return {
      InterfaceName: { SrcName: far, DstPrefix: "eth" },
      // Unless it is disabled the engine adds an interface on a bridge of its own for the way out: that of layer-2 networks.
      ...(layer2 ? {} : { Gateway: gateway, DisableGatewayService: true }),
      ...(six === null || endpoint.address6 === undefined ? {} : routes6(six)),
    };
  }

  #six(network: string): Wire6 | null {
    return this.#options.bridgeFor(network)?.six ?? null;
  }

  #requestPool(body: Extract<PluginCall, { call: "IpamDriver.RequestPool" }>["body"]): object {
    if (body.V6) throw chosenByUs();
    const name = readNetworkOption(body.Options) ?? DEFAULT_NETWORK;
    const { range } = requireNetwork(this.#options.bridgeFor, name);
    // Without a subnet the engine asks again and again for one that no route of the host overlaps: ours always does, and
    // it would ask for ever (requestPoolHelper of libnetwork, seen with engine 20.10).
    if (body.Pool !== range) {
      const fault = body.Pool === "" ? "Cannot choose a subnet" : `Cannot use subnet ${body.Pool}`;
      throw new AppError("invalid", `${fault}: the network "${name}" is ${range}`, {
        hint: `${CREATE} --subnet ${range} NAME`,
      });
    }
    if (body.SubPool !== "") {
      throw new AppError("invalid", "Cannot use --ip-range: each host hands out addresses of its own block", {
        hint: "Leave --ip-range out; a container gets a fixed address with docker run --ip",
      });
    }
    return { PoolID: `${POOL}${name}`, Pool: range, Data: {} };
  }

  async #requestAddress(body: Extract<PluginCall, { call: "IpamDriver.RequestAddress" }>["body"]): Promise<object> {
    const { book, bridgeFor } = this.#options;
    const network = body.PoolID.slice(POOL.length);
    const { gateway, prefix, range } = requireNetwork(bridgeFor, network);
    const wanted = parsePluginAddress(body.Address);
    if (body.Options?.["RequestAddressType"] === "com.docker.network.gateway") {
      if (wanted !== null && wanted !== gateway) {
        throw new AppError("invalid", `Cannot use gateway ${wanted}: on this host it is ${gateway}`, {
          hint: "Leave --gateway out",
        });
      }
      return { Address: `${gateway}/${prefix}`, Data: {} };
    }
    if (wanted !== null && !cidrContains(parseCidr(range), wanted)) {
      throw new AppError("invalid", `Cannot use address ${wanted}: it is not in ${range}`);
    }
    const address = await book.take(this.#freeOwner(network), wanted ?? undefined, network);
    return { Address: `${address}/${prefix}`, Data: {} };
  }

  async #releaseAddress(body: Extract<PluginCall, { call: "IpamDriver.ReleaseAddress" }>["body"]): Promise<object> {
    const address = parsePluginAddress(body.Address);
    for (const [owner, held] of this.#options.book.owners()) {
      if (held === address && isOwnerOn(owner, body.PoolID.slice(POOL.length))) await this.#options.book.release(owner);
    }
    return {};
  }

  #freeOwner(network: string): string {
    const held = this.#options.book.owners();
    let number = 1;
    while (held.has(ownerOn(network, number))) number += 1;
    return ownerOn(network, number);
  }

  async #load(): Promise<PluginState> {
    this.#state ??= readState(await this.#options.file.read());
    return this.#state;
  }

  async #change(change: (state: PluginState) => PluginState): Promise<object> {
    const next = change(await this.#load());
    await this.#options.file.write(`${JSON.stringify(next)}\n`);
    this.#state = next;
    return {};
  }
}

/**
 * The engine asks for the two addresses of a container apart, and does not say that they are one container's: it could not be
 * given an IPv6 address that follows from the other.
 */
function chosenByUs(): AppError {
  return new AppError("invalid", "Cannot choose IPv6 addresses: those of containers here follow from their IPv4 ones", {
    hint: "Leave --ipv6 and IPv6 subnets out; containers have IPv6 without them where the cluster has a range for it",
  });
}

/** In the words of libnetwork's answer to Join. */
function routes6({ prefix, gateway, reach }: Wire6): object {
  if (gateway === null) return {};
  return {
    GatewayIPv6: gateway,
    StaticRoutes: [
      ...(prefix === 128 ? [{ Destination: `${gateway}/128`, RouteType: ON_WIRE, NextHop: "" }] : []),
      ...(reach === null ? [] : [{ Destination: reach, RouteType: BY_HOP, NextHop: gateway }]),
    ],
  };
}

/** Ranges of networks may be the same: the owner says which one the address is of. */
function ownerOn(network: string, number: number): string {
  return network === DEFAULT_NETWORK ? `${ENGINE_OWNER}${number}` : `${ENGINE_OWNER}${network}/${number}`;
}

function isOwnerOn(owner: string, network: string): boolean {
  return owner.startsWith(ENGINE_OWNER) && ownerOn(network, Number(owner.split(/[:/]/).at(-1))) === owner;
}

/** The host's end of an endpoint. */
export function deviceOf(endpointId: string): string {
  return wireDevice("ep", endpointId);
}

function farDeviceOf(endpointId: string): string {
  return deviceOf(endpointId).replace("vethep", "vethpx");
}

/** What cannot be read is forgotten: the engine keeps networks and endpoints itself, and unknown ones may be deleted. */
function readState(text: string | null): PluginState {
  const empty: PluginState = { networks: {}, endpoints: {} };
  if (text === null) return empty;
  try {
    return shape.safeParse(JSON.parse(text)).data ?? empty;
  } catch {
    return empty;
  }
}

function without<Value>(record: Readonly<Record<string, Value>>, key: string): Record<string, Value> {
  return Object.fromEntries(Object.entries(record).filter(([each]) => each !== key));
}
