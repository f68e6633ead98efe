import type { NetworkAction, NetworkState } from "../platform/ports/host-network.ts";
import { isSegmentDevice } from "../platform/ports/segment-network.ts";
import { BRIDGE, TUNNEL } from "./plan-network.ts";
import { planNetwork6 } from "./plan-network6.ts";
import { WIREGUARD, isWireguard } from "./wireguard/plan-wireguard.ts";

/**
 * Takes back all that `planNetwork` makes, for a host that leaves: [] once nothing of ours is there. Sysctls stay, since
 * nobody knows who else relies on them by now. The ranges are null when they are not known any more.
 */
export function planLeave(
  { range, range6 = null }: { readonly range: string | null; readonly range6?: string | null },
  observed: NetworkState,
): readonly NetworkAction[] {
  const ours = observed.links.filter(
    (link) =>
      (link.name === TUNNEL && link.kind === "vxlan") ||
      (isSegmentDevice(link.name) && (link.kind === "bridge" || link.kind === "vxlan")) ||
      (link.name === WIREGUARD && isWireguard(link.kind)) ||
      (link.name === BRIDGE && link.kind === "bridge"),
  );
  const devices = new Set(ours.map((link) => link.name));
  // What leads over our devices goes with them.
  const routes = observed.routes.filter((route) => route.marked && !devices.has(route.device));
  return [
    ...routes
      .toSorted((a, b) => (a.destination < b.destination ? -1 : 1))
      .map(({ destination, device }): NetworkAction => ({ kind: "delete-route", destination, device })),
    ...planNetwork6(null, observed).filter((action) => !("device" in action && devices.has(action.device))),
    ...[...devices].toSorted().map((name): NetworkAction => ({ kind: "delete-link", name })),
    ...[range, range6].flatMap((each) => (each === null ? [] : [{ kind: "remove-allow-range", range: each } as const])),
    ...(observed.rulesetDigest === null ? [] : [{ kind: "delete-ruleset" } as const]),
  ];
}
