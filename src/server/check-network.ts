import { AppError } from "../model/error.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { ContainerNetwork } from "../model/network-config.ts";
import { BLOCK_PREFIX_MAX, checkRangeClash } from "../network/blocks.ts";
import type { ClusterState } from "./cluster-state.ts";

type Known = Pick<ClusterState, "settings" | "hosts" | "apps" | "networkObjectsOf">;

/** Docker's own names, and that of the default network. */
const TAKEN_NAMES: ReadonlySet<string> = new Set(["bridge", "host", "none"]);

/**
 * Refuses a network that hosts could not carry out. Ranges of layer-2 networks may be anything: no host has an address there.
 * @throws AppError `invalid`, or `conflict` with a range that is free.
 */
export function checkNetwork(network: ContainerNetwork, state: Known): void {
  const { name, mode, range, blockPrefix } = network;
  const { prefix } = parseCidr(range);
  const fault = (path: string, message: string): never => {
    throw new AppError("invalid", `Cannot use network "${name}": ${path.slice(1)} ${message}`, {
      fields: [{ path, message }],
    });
  };
  if (TAKEN_NAMES.has(name)) fault("/name", "is one of the container engine's own");
  if (prefix < 8 || prefix > BLOCK_PREFIX_MAX) fault("/range", `must have a prefix from /8 to /${BLOCK_PREFIX_MAX}`);
  if (blockPrefix !== undefined && blockPrefix < prefix) fault("/blockPrefix", `must not be larger than ${range}`);
  const before = state.networkObjectsOf("network").find((one) => one.name === name);
  if (before !== undefined && (before.range !== range || before.mode !== mode)) {
    const users = usersOf(name, state);
    if (users.length > 0) {
      throw new AppError("conflict", `Cannot change range or mode of network "${name}": ${users[0]} uses it`, {
        hint: "Declare another network, move to it, and delete this one",
      });
    }
  }
  if (mode === "routed") checkRange(network, state);
}

/** Who is on the network, for people: apps that ask for it, and hosts that have leased a block for somebody there. */
export function usersOf(name: string, { apps, hosts }: Pick<Known, "apps" | "hosts">): readonly string[] {
  const ofApps = [...apps.values()].filter(({ spec }) => spec.network === name).map(({ spec }) => `app "${spec.id}"`);
  const ofHosts = [...hosts.values()].filter((host) => (host.networks?.[name] ?? []).length > 0);
  return [...ofApps.toSorted(), ...ofHosts.map((host) => `host "${host.name}"`).toSorted()];
}

function checkRange({ name, range }: ContainerNetwork, state: Known): void {
  const { settings, hosts } = state;
  const routed = state.networkObjectsOf("network").filter((one) => one.mode === "routed" && one.name !== name);
  const taken: readonly (readonly [range: string, what: string])[] = [
    [settings.range, "the default network"],
    [settings.virtualRange, "virtual addresses"],
    ...routed.map((one) => [one.range, `network "${one.name}"`] as const),
  ];
  const underlay = [...hosts.values()].flatMap(({ address, name: host }) =>
    isIpv4(address) ? [{ address, host }] : [],
  );
  const clash = checkRangeClash(range, [
    ...taken.map(([each]) => each),
    ...underlay.map(({ address }) => `${address}/32`),
  ]);
  if (clash === null) return;
  const what =
    taken.find(([each]) => clash.with.includes(each))?.[1] ??
    `host "${underlay.find(({ address }) => cidrContains(parseCidr(range), address))?.host ?? "?"}"`;
  const free = clash.suggestion === null ? "Choose another range" : `Choose a free range such as ${clash.suggestion}`;
  throw new AppError(
    "conflict",
    `Cannot use range ${range} for network "${name}": it overlaps ${clash.with[0]} of ${what}`,
    {
      hint: `${free}; ranges of networks in layer-2 mode may overlap`,
    },
  );
}
