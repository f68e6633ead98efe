import type { NetworkObjects } from "../api/native/services.ts";
import { AppError } from "../model/error.ts";
import { DEFAULT_NETWORK, NETWORK_VNI_FIRST, parseNetworkObject } from "../model/network-config.ts";
import type {
  ContainerNetwork,
  NetworkObject,
  NetworkObjectKind,
  Publication,
  VirtualService,
} from "../model/network-config.ts";
import { checkRangeClash } from "../network/blocks.ts";
import { checkPublication } from "../network/check-publication.ts";
import { chooseVirtualAddress } from "../network/choose-virtual-address.ts";
import { checkNetwork, usersOf } from "./check-network.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";

/** More than this is a mistake, or an attack: every agent holds all of them. */
const OBJECTS_MAX = 10_000;

/** What is declared about the network, stored by compare-and-swap; the hub tells the agents after each commit. */
export function networkObjects(state: ClusterState): NetworkObjects {
  return {
    list: (kind) => state.networkObjectsOf(kind),
    put: async (kind, name, value) => {
      const object = parseNetworkObject(kind, withRange(state, kind, named(kind, name, value)));
      const key = keyOf.networkObject(kind, object.name);
      const entry = await state.store.get(key);
      if (entry === null && state.networkObjectsOf(kind).length >= OBJECTS_MAX) {
        throw new AppError("conflict", `Cannot add ${kind} "${name}": there are ${OBJECTS_MAX} already`);
      }
      const complete = complement(state, kind, object);
      await state.commit([{ kind: "put", key, value: complete }], [{ key, revision: entry?.revision ?? 0 }]);
      return complete;
    },
    remove: async (kind, name) => {
      const key = keyOf.networkObject(kind, name);
      const entry = await state.store.get(key);
      if (entry === null) throw new AppError("not-found", `Cannot find ${kind} "${name}"`);
      if (kind === "network") assertUnused(state, name);
      await state.commit([{ kind: "delete", key }], [{ key, revision: entry.revision }]);
    },
  };
}

/** Containers would lose their network under their feet. The default one only loses what was said of its policy. */
function assertUnused(state: ClusterState, name: string): void {
  const users = name === DEFAULT_NETWORK ? [] : usersOf(name, state);
  if (users.length === 0) return;
  const shown = users.slice(0, 5).join(", ");
  throw new AppError("conflict", `Cannot delete network "${name}": it is used by ${shown}`, {
    hint: `End what is on it (apollo network show ${name}); hosts let go of it within a minute`,
  });
}

/** What the server adds to it, or has against it. */
function complement(state: ClusterState, kind: NetworkObjectKind, object: NetworkObject): NetworkObject {
  switch (kind) {
    case "network":
      if (object.name !== DEFAULT_NETWORK) checkNetwork(object as ContainerNetwork, state);
      return withVni(state, object as ContainerNetwork);
    case "virtual":
      return withAddress(state, object as VirtualService);
    case "publication":
      checkPublication(object as Publication, state.networkObjectsOf("publication"), appPorts(state));
      return object;
    default:
      return object;
  }
}

/** The name stands in the path; one in the body must be the same. */
function named(kind: NetworkObjectKind, name: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const said = "name" in value ? value.name : name;
  if (said === name) return { ...value, name };
  throw new AppError("invalid", `Cannot use ${kind} "${name}": its body names "${String(said)}"`, {
    fields: [{ path: "/name", message: `must be "${name}"` }],
  });
}

/** The default network is there anyway: all that can be said of it is its policy. */
function withRange(state: ClusterState, kind: NetworkObjectKind, value: unknown): unknown {
  if (kind !== "network" || typeof value !== "object" || value === null || !("name" in value)) return value;
  if (value.name !== DEFAULT_NETWORK) return value;
  const { range } = state.settings;
  // What a reader gets may be sent back.
  const fixed: Readonly<Record<string, unknown>> = { range, mode: "routed", internal: false };
  const other = Object.entries(value).find(
    ([field, said]) => field !== "name" && field !== "policy" && fixed[field] !== said,
  );
  if (other === undefined) return { ...value, range };
  throw new AppError(
    "invalid",
    `Cannot use network "${DEFAULT_NETWORK}": only its policy can be set, not ${other[0]}`,
    {
      fields: [{ path: `/${other[0]}`, message: "cannot be set for the default network" }],
    },
  );
}

/** A network keeps its identifier for life: tunnels of half the hosts would else carry another number than those of the rest. */
function withVni(state: ClusterState, network: ContainerNetwork): NetworkObject<"network"> {
  if (network.name === DEFAULT_NETWORK) return network;
  const others = state.networkObjectsOf("network");
  const before = others.find((one) => one.name === network.name)?.vni;
  if (before !== undefined) return { ...network, vni: before };
  const taken = new Set(others.map(({ vni }) => vni));
  let vni = network.vni ?? NETWORK_VNI_FIRST;
  while (taken.has(vni)) vni += 1;
  return { ...network, vni };
}

/** A service keeps its address for life: clients have it in their configuration. */
function withAddress(state: ClusterState, virtual: VirtualService): NetworkObject<"virtual"> {
  const { range, virtualRange } = state.settings;
  if (checkRangeClash(virtualRange, [range]) !== null) {
    throw new AppError(
      "conflict",
      `Cannot give "${virtual.name}" an address: range ${virtualRange} overlaps ${range}`,
      {
        hint: "Set up the cluster with another virtual range: apollo server --virtual-range",
      },
    );
  }
  const others = state.networkObjectsOf("virtual").filter(({ name }) => name !== virtual.name);
  const before = state.networkObjects.get("virtual")?.get(virtual.name) as VirtualService | undefined;
  const taken = new Map(
    others.flatMap(({ name, address }) => (address === undefined ? [] : [[address, name] as const])),
  );
  const wanted = virtual.address ?? before?.address ?? null;
  return { ...virtual, address: chooseVirtualAddress({ name: virtual.name, range: virtualRange, taken, wanted }) };
}

/** Ports of hosts that apps ask for by number. */
function appPorts(state: ClusterState): ReadonlyMap<string, string> {
  const ports = [...state.apps.values()].flatMap(({ spec }) =>
    spec.ports.flatMap(({ hostPort, protocol }) =>
      hostPort === null || hostPort === 0 ? [] : [[`${hostPort}/${protocol}`, spec.id] as const],
    ),
  );
  return new Map(ports);
}
