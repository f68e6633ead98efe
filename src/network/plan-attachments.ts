import type { Container } from "../model/container.ts";
import type { Cidr6, HostAddress } from "../model/ip6.ts";
import { cidr6Contains } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import type { Wire, WireSpec, WiringState } from "../platform/ports/wiring.ts";
import { address6Of } from "./address6.ts";
import type { AttachTarget, Attachment, DeclaredWiring } from "./attachment.ts";
import { containerMac, formatTarget, wireDevice } from "./attachment.ts";
import type { LocalPort } from "./local-port.ts";

/** What one pass sees of this host. */
export interface ObservedWiring {
  readonly state: WiringState;
  /** Null when the engine does not answer: nothing is known about containers then, and their wires are left alone. */
  readonly containers: readonly Container[] | null;
  /** By owner: where the target's namespace is; null when it has none now. */
  readonly namespaces: ReadonlyMap<string, { readonly path: string; readonly id: string } | null>;
}

export type WiringAction =
  | { readonly kind: "connect"; readonly owner: string; readonly wire: WireSpec }
  | { readonly kind: "mend"; readonly device: string; readonly bridge: string }
  | { readonly kind: "disconnect"; readonly device: string }
  | { readonly kind: "expose"; readonly address: HostAddress }
  | { readonly kind: "hide"; readonly address: HostAddress };

export interface WiringPlan {
  readonly actions: readonly WiringAction[];
  /** Attachments that end with their target: a process that is gone. */
  readonly ended: readonly string[];
  readonly conditions: readonly Condition[];
  readonly ports: readonly LocalPort[];
}

/** Where networks are on this host. */
export interface LocalWiring {
  readonly bridgeOf: (network: string) => string | null;
  /** This host's part of the IPv6 range; null while it has none. */
  readonly host6: Cidr6 | null;
}

/** Devices of attachments; those of the engine's plugin have another start and live by the engine's calls. */
const OWN_DEVICE = /^vethat[0-9a-f]{8}$/;

/**
 * From the declared wires to those that are there. A wire whose target has a new namespace (a restarted container) is made
 * anew; the old one went with its namespace, or is taken away first, since the device's name is exclusive.
 */
export function planAttachments(
  declared: DeclaredWiring,
  observed: ObservedWiring,
  { bridgeOf, host6 }: LocalWiring,
): WiringPlan {
  const wires = new Map(observed.state.wires.map((wire) => [wire.device, wire]));
  const ended = declared.attachments.filter((each) => hasEnded(each, observed)).map(({ owner }) => owner);
  const wanted = declared.attachments
    .filter(({ owner }) => !ended.includes(owner))
    .toSorted((a, b) => (a.owner < b.owner ? -1 : 1));
  const plans = wanted.map((each) => planOne(each, { observed, wires, bridge: bridgeOf(each.network) }));
  const devices = new Set(wanted.map(({ owner }) => wireDevice("at", owner)));
  const stale = observed.state.wires
    .filter(({ device }) => OWN_DEVICE.test(device) && !devices.has(device))
    .map(({ device }): WiringAction => ({ kind: "disconnect", device }));
  return {
    actions: [...stale, ...plans.flatMap(({ actions }) => actions), ...planExposures(declared, observed, host6)],
    ended,
    conditions: [...plans.flatMap(({ conditions }) => conditions), ...findDoubleAddresses(wanted, observed)],
    ports: plans.flatMap(({ port }) => (port === null ? [] : [port])),
  };
}

interface OnePlan {
  readonly actions: readonly WiringAction[];
  readonly conditions: readonly Condition[];
  readonly port: LocalPort | null;
}

function planOne(
  attachment: Attachment,
  at: {
    readonly observed: ObservedWiring;
    readonly wires: ReadonlyMap<string, Wire>;
    readonly bridge: string | null;
  },
): OnePlan {
  const { observed, wires, bridge } = at;
  const device = wireDevice("at", attachment.owner);
  const wire = wires.get(device);
  const namespace = observed.namespaces.get(attachment.owner);
  // Not asked, since the engine does not say: what is there stays.
  if (namespace === undefined) return { actions: [], conditions: [], port: portOf(attachment, wire) };
  if (namespace === null) {
    const gone: WiringAction[] = wire === undefined ? [] : [{ kind: "disconnect", device }];
    return { actions: gone, conditions: [waiting(attachment.target)], port: null };
  }
  if (bridge === null || !observed.state.bridges.includes(bridge)) return { actions: [], conditions: [], port: null };
  if (wire !== undefined && wire.namespace === namespace.id) {
    const right = wire.up && wire.bridge === bridge;
    return {
      actions: right ? [] : [{ kind: "mend", device, bridge }],
      conditions: [],
      port: portOf(attachment, wire),
    };
  }
  const old: WiringAction[] = wire === undefined ? [] : [{ kind: "disconnect", device }];
  const connect: WiringAction = {
    kind: "connect",
    owner: attachment.owner,
    wire: { device, bridge, namespacePath: namespace.path, end: endOf(attachment) },
  };
  return { actions: [...old, connect], conditions: [], port: null };
}

function endOf(attachment: Attachment): WireSpec["end"] {
  const { interfaceName: name, address, prefix, gateway, six = null, defaultRoute, multicast, routes } = attachment;
  return { name, mac: containerMac(address), address, prefix, gateway, six, defaultRoute, multicast, routes };
}

function portOf({ network, address, six, target }: Attachment, wire: Wire | undefined): LocalPort | null {
  if (wire === undefined) return null;
  const { device, index } = wire;
  const known = { addresses: [address], ...(six === undefined ? {} : { addresses6: [six.address] }) };
  return { network, device, index, mac: containerMac(address), ...known, container: formatTarget(target) };
}

function hasEnded({ target, owner }: Attachment, observed: ObservedWiring): boolean {
  return target.kind === "pid" && observed.namespaces.get(owner) === null;
}

/** Nobody else has an address of this host's part for itself alone; without a part nothing is known of them. */
function planExposures(
  { exposures }: DeclaredWiring,
  { state }: ObservedWiring,
  host6: Cidr6 | null,
): readonly WiringAction[] {
  const six = host6 === null ? [] : exposures.map(({ address }) => address6Of(host6, address));
  const ours6 = state.local6.filter((address) => host6 !== null && cidr6Contains(host6, address));
  const wanted = new Set<HostAddress>([...exposures.map(({ address }) => address), ...six]);
  const there = new Set<HostAddress>([...state.exposed, ...ours6]);
  return [
    ...[...wanted]
      .toSorted()
      .flatMap((address): WiringAction[] => (there.has(address) ? [] : [{ kind: "expose", address }])),
    ...[...there]
      .toSorted()
      .flatMap((address): WiringAction[] => (wanted.has(address) ? [] : [{ kind: "hide", address }])),
  ];
}

function waiting(target: AttachTarget): Condition {
  const what = formatTarget(target);
  return {
    code: "attachment-waits",
    severity: "info",
    text: `"${what}" is attached to the network, but does not run: it will be attached when it does`,
    hint: `Give its address back with: apollo net detach ${what}`,
  };
}

/** The engine chooses addresses for containers that come without one, and does not know ours. */
function findDoubleAddresses(wanted: readonly Attachment[], { containers }: ObservedWiring): readonly Condition[] {
  const byAddress = new Map(wanted.map((each) => [each.address, each]));
  return (containers ?? []).flatMap((container) =>
    Object.values(container.addresses).flatMap((address): Condition[] => {
      const attachment = byAddress.get(address);
      if (attachment === undefined) return [];
      const what = formatTarget(attachment.target);
      return [
        {
          code: "address-twice",
          severity: "error",
          text: `Address ${address} of "${what}" was given to container "${container.name}" by the container engine, too`,
          hint: `Start that container again with another address: docker restart ${container.name}`,
        },
      ];
    }),
  );
}
