/**
 * What operators declare about the network, the same for every host: stored by the server, sent to each agent whole, and
 * carried out by each agent alone. Names are DNS labels and unique within their kind.
 */
import { z } from "zod";
import { AppError } from "./error.ts";
import type { Ipv4 } from "./ip.ts";
import { isIpv4, parseCidr } from "./ip.ts";
import type { HostAddress } from "./ip6.ts";
import { isIpv6 } from "./ip6.ts";

/** The network that every cluster has; its range is the cluster's. */
export const DEFAULT_NETWORK = "apollo";

/** VXLAN network identifiers (24 bits) of declared networks start here; the default network's tunnel has a lower one. */
export const NETWORK_VNI_FIRST = 1000;

const name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "must be a DNS label: a-z, 0-9, -");
const label = z.string().min(1).max(255);
const cidr = z.string().refine(isCidr, "must look like 10.9.0.0/16, bits after the prefix zero");
const address = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value), "must be an IPv4 address");
const targetAddress = z.custom<HostAddress>(
  (value) => typeof value === "string" && (isIpv4(value) || isIpv6(value)),
  "must be an IPv4 or IPv6 address",
);
const port = z.number().int().min(1).max(65_535);
const protocol = z.enum(["tcp", "udp"]);

/** Whom a rule is about. All fields that are given must fit; a rule's list fits when one of its selectors does. */
const selector = z
  .strictObject({
    app: label,
    service: label,
    network: name,
    /** Container labels, all of them with this value. */
    labels: z.record(label, z.string().max(255)),
    /** Addresses, inside or outside the container range. */
    cidr,
    /** The hosts of the cluster themselves. */
    host: z.literal("any"),
  })
  .partial()
  .refine((value) => Object.keys(value).length > 0, "must name an app, service, network, labels, cidr or host");

const portRange = z.strictObject({ protocol, from: port, to: port }).refine(({ from, to }) => from <= to, {
  message: "must not end before it begins",
});

const shapes = {
  network: z.strictObject({
    name,
    /** `routed`: own range in the cluster's routing. `layer2`: one Ethernet segment over all hosts, broadcast and multicast included; ranges may overlap with those of others. */
    mode: z.enum(["routed", "layer2"]).default("routed"),
    range: cidr,
    /** Prefix length of what one host gets of the range. */
    blockPrefix: z.number().int().min(8).max(29).optional(),
    /** Whether containers may talk where no policy rule says anything. */
    policy: z.enum(["open", "deny"]).default("open"),
    /** No way to the outside of the network. */
    internal: z.boolean().default(false),
    /** Chosen by the server. */
    vni: z.number().int().min(NETWORK_VNI_FIRST).max(0xff_ff_ff).optional(),
  }),
  policy: z.strictObject({
    name,
    /** The network it holds in. */
    network: name.default(DEFAULT_NETWORK),
    /** Who may start connections; empty is anyone. */
    from: z.array(selector).max(64).default([]),
    /** To whom; empty is every container of the network. */
    to: z.array(selector).max(64).default([]),
    /** Empty is every port and protocol. */
    ports: z.array(portRange).max(64).default([]),
  }),
  /** A service on ports of hosts. */
  publication: z.strictObject({
    name,
    service: label,
    protocol: protocol.default("tcp"),
    /** On the host. */
    port,
    /** Hosts with these labels; empty is every host. */
    hosts: z.record(label, z.string().max(255)).default({}),
  }),
  /** Addresses outside as a service inside. */
  import: z.strictObject({
    name,
    targets: z
      .array(z.strictObject({ address: targetAddress, port }))
      .min(1)
      .max(64),
    protocol: protocol.default("tcp"),
    tags: z.array(label).max(32).default([]),
    /** Connected to by one host every few seconds; a target that does not answer is critical. */
    check: z.enum(["tcp", "none"]).default("tcp"),
  }),
  /** One address that never changes for a service, spread over its healthy endpoints. */
  virtual: z.strictObject({
    /** Its name in DNS, `NAME.virtual.DOMAIN`, and the service's unless that is given. */
    name,
    /** The service behind it; another one here moves new connections and leaves old ones where they are. */
    service: label.optional(),
    /** Chosen by the server out of the cluster's virtual range unless given. */
    address: address.optional(),
    /** The one port to answer on, whatever the endpoints' own; unless given, the ports that the endpoints have. */
    port: port.optional(),
    /** `source`: the same client gets the same endpoint for as long as the set of them does not change. */
    affinity: z.enum(["none", "source"]).default("none"),
  }),
};

export type NetworkObjectKind = keyof typeof shapes;
export type NetworkObject<Kind extends NetworkObjectKind = NetworkObjectKind> = z.infer<(typeof shapes)[Kind]>;
export type ContainerNetwork = NetworkObject<"network">;
export type PolicyRule = NetworkObject<"policy">;
export type Publication = NetworkObject<"publication">;
export type ImportedService = NetworkObject<"import">;
export type VirtualService = NetworkObject<"virtual">;
export type Selector = z.infer<typeof selector>;

export const NETWORK_OBJECT_KINDS: readonly NetworkObjectKind[] = [
  "network",
  "policy",
  "publication",
  "import",
  "virtual",
];

/** All declared objects, by kind, each sorted by name. */
export interface NetworkConfig {
  readonly networks: readonly ContainerNetwork[];
  readonly policies: readonly PolicyRule[];
  readonly publications: readonly Publication[];
  readonly imports: readonly ImportedService[];
  readonly virtuals: readonly VirtualService[];
}

export const EMPTY_NETWORK_CONFIG: NetworkConfig = {
  networks: [],
  policies: [],
  publications: [],
  imports: [],
  virtuals: [],
};

/** Whether containers of the network may talk where no rule says anything. The default network may be declared, for this alone. */
export function defaultPolicyOf(config: NetworkConfig, network: string): ContainerNetwork["policy"] {
  return config.networks.find((one) => one.name === network)?.policy ?? "open";
}

/** Networks beside the default one. */
export function declaredNetworks(config: NetworkConfig): readonly ContainerNetwork[] {
  return config.networks.filter(({ name: one }) => one !== DEFAULT_NETWORK);
}

/** Label keys that rules name: hosts tell each other no others. */
export function policyLabelKeys(policies: readonly PolicyRule[]): ReadonlySet<string> {
  const selectors = policies.flatMap(({ from, to }) => [...from, ...to]);
  return new Set(selectors.flatMap(({ labels }) => Object.keys(labels ?? {})));
}

/** Reads one object as a user wrote it, with every default filled in. @throws AppError `invalid` that names the field. */
export function parseNetworkObject<Kind extends NetworkObjectKind>(kind: Kind, value: unknown): NetworkObject<Kind> {
  const result = shapes[kind].safeParse(value);
  if (result.success) return result.data as NetworkObject<Kind>;
  const fields = result.error.issues.map(({ path, message }) => ({ path: `/${path.join("/")}`, message }));
  const first = fields[0];
  throw new AppError("invalid", `Cannot use ${kind}: ${first?.path} ${first?.message}`, { fields });
}

function isCidr(text: string): boolean {
  try {
    parseCidr(text);
    return true;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
}
