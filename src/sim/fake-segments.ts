import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type {
  SegmentAction,
  SegmentBridge,
  SegmentNetwork,
  SegmentState,
  SegmentTunnel,
} from "../platform/ports/segment-network.ts";

const LATENCY_MS = 5;

/** A kernel's bridges of declared networks in memory, as strict as the real one. */
export class FakeSegments implements SegmentNetwork {
  readonly #clock: Clock;
  readonly #bridges = new Map<string, SegmentBridge & { readonly mtu: number }>();
  readonly #tunnels = new Map<string, SegmentTunnel>();
  routes: SegmentState["routes"] = [];
  uplinkMtu = 1500;
  allowed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** One line a device, sorted: for assertions. */
  toString(): string {
    const bridges = [...this.#bridges.values()].map(
      ({ name, addresses, addresses6, up }) =>
        `${name} ${[...addresses, ...addresses6].map(({ address, prefix }) => `${address}/${prefix}`).join(" ") || "-"}${up ? "" : " down"}`,
    );
    const tunnels = [...this.#tunnels.values()].map(
      ({ name, vni, local, bridge, mtu, flood }) =>
        `${name} ${vni} ${local} on ${bridge} mtu ${mtu} to ${flood.toSorted().join(" ") || "nobody"}`,
    );
    return [...bridges, ...tunnels].toSorted().join("\n");
  }

  /** Somebody else changes what is there. */
  upset(name: string): void {
    const bridge = this.#bridges.get(name);
    if (bridge !== undefined) this.#bridges.set(name, { ...bridge, addresses: [], addresses6: [], up: false });
    const tunnel = this.#tunnels.get(name);
    if (tunnel !== undefined) this.#tunnels.set(name, { ...tunnel, bridge: null, flood: [] });
  }

  async observe(): Promise<SegmentState> {
    await this.#clock.sleep(LATENCY_MS);
    const { routes, uplinkMtu, allowed } = this;
    const bridges = [...this.#bridges.values()].map(({ name, up, addresses, addresses6 }) => ({
      name,
      up,
      addresses,
      addresses6,
    }));
    return { bridges, tunnels: [...this.#tunnels.values()], routes, uplinkMtu, allowed };
  }

  async apply(action: SegmentAction): Promise<void> {
    await this.#clock.sleep(LATENCY_MS);
    this.applyNow(action);
  }

  applyNow(action: SegmentAction): void {
    if (action.kind === "allow-bridges" || action.kind === "forbid-bridges") {
      this.allowed = action.kind === "allow-bridges";
      return;
    }
    const { name } = action;
    switch (action.kind) {
      case "add-bridge": {
        if (this.#bridges.has(name)) throw refused(`${name}: File exists`);
        const { mtu, address } = action;
        this.#bridges.set(name, { name, mtu, up: true, addresses: address === null ? [] : [address], addresses6: [] });
        return;
      }
      case "put-address": {
        const { address, prefix } = action;
        return this.#changeBridge(name, ({ addresses }) => ({ addresses: [...addresses, { address, prefix }] }));
      }
      case "put-address6": {
        const { address, prefix } = action;
        return this.#changeBridge(name, ({ addresses6 }) => ({ addresses6: [...addresses6, { address, prefix }] }));
      }
      case "set-up":
        return this.#changeBridge(name, () => ({ up: true }));
      case "add-tunnel": {
        const { vni, local, bridge, mtu } = action;
        if (this.#tunnels.has(name)) throw refused(`${name}: File exists`);
        if ([...this.#tunnels.values()].some((each) => each.vni === vni)) throw refused("a VXLAN of that id exists");
        if (!this.#bridges.has(bridge)) throw refused(`no device "${bridge}"`);
        this.#tunnels.set(name, { name, vni, local, bridge, mtu, up: true, flood: [] });
        return;
      }
      case "set-mtu":
        return this.#changeTunnel(name, () => ({ mtu: action.mtu }));
      case "set-master":
        return this.#changeTunnel(name, () => ({ bridge: action.bridge, up: true }));
      case "add-flood":
        return this.#changeTunnel(name, ({ flood }) => {
          if (flood.includes(action.host)) throw refused("File exists");
          return { flood: [...flood, action.host] };
        });
      case "delete-flood":
        return this.#changeTunnel(name, ({ flood }) => ({ flood: without(flood, action.host) }));
      case "delete-device":
        this.#bridges.delete(name);
        this.#tunnels.delete(name);
        for (const tunnel of this.#tunnels.values()) if (tunnel.bridge === name) this.upset(tunnel.name);
    }
  }

  #changeBridge(name: string, change: (bridge: SegmentBridge) => Partial<SegmentBridge>): void {
    const bridge = this.#bridges.get(name);
    if (bridge === undefined) throw refused(`no device "${name}"`);
    this.#bridges.set(name, { ...bridge, ...change(bridge) });
  }

  #changeTunnel(name: string, change: (tunnel: SegmentTunnel) => Partial<SegmentTunnel>): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) throw refused(`no device "${name}"`);
    this.#tunnels.set(name, { ...tunnel, ...change(tunnel) });
  }
}

function without(hosts: readonly Ipv4[], host: Ipv4): readonly Ipv4[] {
  if (!hosts.includes(host)) throw refused("No such file or directory");
  return hosts.filter((each) => each !== host);
}

function refused(why: string): AppError {
  return new AppError("unavailable", `Cannot change the network: ${why}`);
}
