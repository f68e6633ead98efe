/** Which container is behind which port of the bridge. */
import type { Container } from "../model/container.ts";
import type { BridgePort, FarPort } from "../platform/ports/bridge-ports.ts";
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
        const six = container.addresses6?.[network];
        const known = { addresses: [address], ...(six === undefined ? {} : { addresses6: [six] }) };
        const ends = isEnd(container, containers) ? ({ ends: true } as const) : {};
        return [{ network, device, index, mac: mac.toLowerCase(), ...known, container: container.id, ...ends }];
      });
      return fitting.length === 1 ? fitting : [];
    })
    .toSorted((a, b) => a.index - b.index);
}

/** Neither it nor who shares its network namespace may turn packets to elsewhere. */
function isEnd({ id, netAdmin }: Container, containers: readonly Container[]): boolean {
  return (
    netAdmin === false && containers.every(({ networkOf, netAdmin: other }) => networkOf !== id || other === false)
  );
}

/**
 * Wires to plug in again: a bridge that was deleted and made anew is without the wires of the containers that run. Both ends
 * must name each other and the far one have the container's MAC in this network: indexes alone are counted per namespace,
 * and a host's own way out may be a wire as well.
 */
export function choosePlugs(
  network: string,
  seen: {
    readonly containers: readonly Container[];
    readonly loose: readonly BridgePort[];
    /** By process id. */
    readonly farPorts: ReadonlyMap<number, readonly FarPort[]>;
  },
): readonly string[] {
  return seen.containers.flatMap(({ pid, macs }) => {
    const mac = macs?.[network]?.toLowerCase();
    const far = pid === null ? [] : (seen.farPorts.get(pid) ?? []).filter((port) => port.mac.toLowerCase() === mac);
    return seen.loose
      .filter(({ index, farIndex }) => far.some((port) => port.index === farIndex && port.nearIndex === index))
      .map(({ device }) => device);
  });
}

/** Processes whose interfaces have to be looked at: containers that run on the network. */
export function choosePids(network: string, containers: readonly Container[]): readonly number[] {
  return containers.flatMap(({ pid, addresses }) => (pid === null || addresses[network] === undefined ? [] : [pid]));
}
