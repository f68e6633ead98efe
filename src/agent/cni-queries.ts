import { z } from "zod";
import { DEFAULT_CONTAINER_DOMAIN } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { formatIpv4, isIpv4 } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import { ipv6ToNumber, isIpv6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import type { Attachment } from "../network/attachment.ts";
import { containerMac, destination, dnsName, hop, wireDevice } from "../network/attachment.ts";
import type { CniMade } from "../network/render-cni-result.ts";
import { wireEnd6 } from "../network/wire6.ts";
import type { Wiring } from "../platform/ports/wiring.ts";
import type { AgentState } from "./agent-state.ts";
import type { AttachPart, AttachWish } from "./attach-part.ts";
import type { BridgeFor, LocalNetwork } from "./local-network.ts";
import { requireNetwork } from "./local-network.ts";
import { parse } from "./attach-queries.ts";

export interface CniQueriesOptions {
  readonly state: AgentState;
  readonly part: AttachPart;
  readonly wiring: Pick<Wiring, "inspect" | "namespaceAt">;
  readonly bridgeFor: BridgeFor;
}

const ipv4 = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value), "must be an IPv4 address");
const ipv6 = z.custom<Ipv6>((value) => typeof value === "string" && isIpv6(value), "must be an IPv6 address");
const text = z.string().min(1).max(255);
const interfaceName = z.string().regex(/^[^\s/:]{1,15}$/, "must be a name of an interface");
const path = z.string().startsWith("/").max(1024);
const key = { config: text, containerId: text, interfaceName };
const addShape = z.strictObject({
  ...key,
  netns: path,
  network: z.string().max(63).default(DEFAULT_NETWORK),
  address: ipv4.optional(),
  address6: ipv6.optional(),
  /** From another IPAM plugin: then the address is not ours, and these belong to it. */
  foreign: z.strictObject({ prefix: z.number().int().min(0).max(32), gateway: ipv4.nullable() }).optional(),
  defaultRoute: z.boolean(),
  multicast: z.boolean(),
  routes: z.array(z.strictObject({ destination, via: hop.nullable() })).max(256),
  name: dnsName.optional(),
});
const delShape = z.strictObject(key);
const checkShape = z.strictObject({ ...key, netns: path, addresses: z.array(z.string().max(64)).max(16) });
const gcShape = z.strictObject({
  config: text,
  valid: z.array(z.strictObject({ containerId: text, interfaceName })).max(10_000),
});

/** What a CNI runtime gets told of a new interface, but for what it said itself. */
export type CniWire = Omit<CniMade, "interfaceName" | "netns" | "routes">;

/** Answers `cni-add`, `cni-del`, `cni-check`, `cni-gc` and `cni-status`: what `apollo-cni` asks. */
export function registerCniQueries({ state, part, wiring, bridgeFor }: CniQueriesOptions): void {
  const { queries } = state;
  queries.register("cni-add", async (fields) => {
    const wish = parse(addShape, fields);
    const local = requireNetwork(bridgeFor, wish.network);
    // Names are answered at the host's gateway in the default network, which others reach as well.
    const { gateway: nameserver } = requireNetwork(bridgeFor, DEFAULT_NETWORK);
    if (wish.foreign !== undefined && wish.network !== DEFAULT_NETWORK) {
      throw new AppError(
        "invalid",
        `Cannot use another IPAM plugin on network "${wish.network}": its addresses are Apollo's`,
        {
          hint: 'Leave "ipam" out of the configuration',
        },
      );
    }
    if ((await wiring.namespaceAt(wish.netns)) === null) {
      throw new AppError("not-found", `Cannot attach ${wish.netns}: there is no network namespace`);
    }
    if (local.six === null && wish.routes.some(({ destination: to }) => to.includes(":"))) {
      throw new AppError("invalid", `Cannot set IPv6 routes: network "${wish.network}" has no IPv6 on this host`, {
        hint: "Leave them out of the configuration",
      });
    }
    const made = await part.attach(attachmentOf({ ...wish, address: addressFor(wish, local) }, local));
    const { address, prefix, six = null, owner } = made;
    const gateway = local.layer2 ? null : made.gateway;
    const defaultRoute = made.defaultRoute === "always";
    const domain = state.identity?.settings.containerDomain ?? DEFAULT_CONTAINER_DOMAIN;
    const device = wireDevice("at", owner);
    const mac = containerMac(address);
    const wire: CniWire = { address, prefix, gateway, six, mac, device, defaultRoute, nameserver, domain };
    return wire;
  });
  queries.register("cni-del", async (fields) => {
    const owner = ownerOf(parse(delShape, fields));
    return { removed: (await part.detach((each) => each.owner === owner)).length };
  });
  queries.register("cni-check", async (fields) => {
    const wish = parse(checkShape, fields);
    const { attachments } = await part.declared();
    const found = attachments.find(({ owner }) => owner === ownerOf(wish));
    const fault = found === undefined ? "it was never added" : await findFault(found, wish, wiring);
    if (fault === null) return {};
    throw new AppError(
      "conflict",
      `Interface ${wish.interfaceName} of ${wish.containerId} is not as it was made: ${fault}`,
    );
  });
  queries.register("cni-gc", async (fields) => {
    const { config, valid } = parse(gcShape, fields);
    const keep = new Set(valid.map((each) => ownerOf({ config, ...each })));
    const gone = await part.detach(({ owner }) => owner.startsWith(`cni:${config}:`) && !keep.has(owner));
    return { removed: gone.length };
  });
  queries.register("cni-status", (fields) => {
    const { network } = parse(z.strictObject({ network: z.string().default(DEFAULT_NETWORK) }), fields);
    const { range } = requireNetwork(bridgeFor, network);
    return Promise.resolve({ range });
  });
}

/** An IPv6 address follows from the IPv4 one, and so leads to it. */
function addressFor(
  { address, address6, network }: Pick<z.infer<typeof addShape>, "address" | "address6" | "network">,
  { six }: Pick<LocalNetwork, "six">,
): Ipv4 | undefined {
  if (address6 === undefined) return address;
  const found = address ?? formatIpv4(Number(ipv6ToNumber(address6) & 0xff_ff_ff_ffn));
  const follows = six === null ? null : wireEnd6(six, found).address;
  if (follows === address6) return found;
  const has = follows === null ? `network "${network}" has no IPv6 on this host` : `with ${found} goes ${follows}`;
  throw new AppError("invalid", `Cannot take ${address6}: ${has}`, { hint: "Ask for an IPv4 address alone" });
}

function attachmentOf(
  wish: z.infer<typeof addShape>,
  own: { readonly prefix: number; readonly gateway: Ipv4; readonly layer2: boolean },
): AttachWish {
  const { foreign } = wish;
  return {
    owner: ownerOf(wish),
    target: { kind: "netns", path: wish.netns },
    network: wish.network,
    address: wish.address ?? null,
    prefix: foreign?.prefix ?? own.prefix,
    gateway: foreign?.gateway ?? own.gateway,
    name: wish.name ?? null,
    interfaceName: wish.interfaceName,
    defaultRoute: wish.defaultRoute && !own.layer2 ? "always" : "never",
    multicast: wish.multicast,
    routes: wish.routes,
    ownAddress: foreign === undefined,
  };
}

async function findFault(
  { address, prefix, six }: Attachment,
  wish: z.infer<typeof checkShape>,
  wiring: Pick<Wiring, "inspect">,
): Promise<string | null> {
  const inside = (await wiring.inspect(wish.netns)).find(({ name }) => name === wish.interfaceName);
  if (inside === undefined) return "the interface is gone";
  const own = six === undefined ? [] : [`${six.address}/${six.prefix}`];
  const wanted = [`${address}/${prefix}`, ...own, ...wish.addresses];
  const missing = wanted.find((each) => !inside.addresses.includes(each));
  return missing === undefined ? null : `address ${missing} is gone`;
}

function ownerOf(each: {
  readonly config: string;
  readonly containerId: string;
  readonly interfaceName: string;
}): string {
  return `cni:${each.config}:${each.containerId}:${each.interfaceName}`;
}
