/** Which container is behind which port of the bridge. */
import type { Container } from "../model/container.ts";
import type { BridgePort } from "../platform/ports/bridge-ports.ts";
import type { LocalPort } from "./local-port.ts";

/** What one pass sees: the bridge's ports, the containers, and the interface indexes in each container by its process. */
export interface ObservedPorts {
  readonly bridgePorts: readonly BridgePort[];
  readonly containers: readonly Container[];
  /** By process id; missing when the process has ended meanwhile. */
  readonly indexes: ReadonlyMap<number, readonly number[]>;
}

/**
 * The two ends of a wire know each other by interface index. Indexes are counted per namespace, so two containers may have
 * the same one: a port that fits several containers is left out, which costs it the fast path and nothing else.
 */
export function planPorts(network: string, { bridgePorts, containers, indexes }: ObservedPorts): readonly LocalPort[] {
  return bridgePorts
    .flatMap((port): LocalPort[] => {
      const fitting = containers.flatMap((container): LocalPort[] => {
        const address = container.addresses[network];
        const mac = container.macs?.[network];
        const inside = container.pid === null ? undefined : indexes.get(container.pid);
        if (address === undefined || mac === undefined || inside?.includes(port.farIndex) !== true) return [];
        const { device, index } = port;
        return [{ network, device, index, mac: mac.toLowerCase(), addresses: [address], container: container.id }];
      });
      return fitting.length === 1 ? fitting : [];
    })
    .toSorted((a, b) => a.index - b.index);
}

/**
 * Wires to plug in again: a bridge that was deleted and made anew is without the wires of the containers that run. A
 * container that has its wire is given no second one, and of two that fit none is taken: the other one is somebody else's.
 */
export function choosePlugs(
  network: string,
  { loose, ...seen }: ObservedPorts & { readonly loose: readonly BridgePort[] },
): readonly string[] {
  const served = new Set(planPorts(network, seen).map(({ container }) => container));
  const fitting = planPorts(network, { ...seen, bridgePorts: loose }).filter(({ container }) => !served.has(container));
  return fitting
    .filter(({ container }) => fitting.filter((other) => other.container === container).length === 1)
    .map(({ device }) => device);
}

/** Processes whose interfaces have to be looked at: containers that run on the network. */
export function choosePids(network: string, containers: readonly Container[]): readonly number[] {
  return containers.flatMap(({ pid, addresses }) => (pid === null || addresses[network] === undefined ? [] : [pid]));
}
