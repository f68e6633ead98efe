import type { LocalPort } from "../network/local-port.ts";
import { ENGINE_NETWORK } from "../network/plan-engine-network.ts";
import { BRIDGE } from "../network/plan-network.ts";
import { choosePids, choosePlugs, planPorts } from "../network/plan-ports.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import { settle } from "../platform/loop/settle.ts";
import type { BridgePorts } from "../platform/ports/bridge-ports.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

export interface PortsPartOptions {
  readonly state: AgentState;
  readonly engine: Pick<Engine, "listContainers" | "watch">;
  readonly ports: BridgePorts;
  readonly clock: Clock;
  readonly log: Log;
}

/** A container start reports its wire several times, and the engine once more; an app's start does so in bursts. */
const SETTLE_MS = 100;

/** What one pass sees. */
interface Seen {
  readonly ports: readonly LocalPort[];
  /** Devices of containers that lost their bridge. */
  readonly plugs: readonly string[];
}

type PortsAction =
  | { readonly kind: "tell"; readonly ports: readonly LocalPort[] }
  | { readonly kind: "plug"; readonly device: string };

/**
 * Keeps `state.ports` equal to what is plugged into our bridge; emits "ports" when that changes. Containers of a bridge
 * that was deleted are plugged into the new one: the engine does that only when they start.
 */
export function createPortsPart({ state, engine, ports, clock, log }: PortsPartOptions): AgentPart {
  let told = "";
  let known = "";
  const loop = new ReconcileLoop<Seen, PortsAction>(
    {
      name: "ports",
      observe: () => observePorts(engine, ports),
      plan: (seen) => [
        ...seen.plugs.map((device): PortsAction => ({ kind: "plug", device })),
        { kind: "tell", ports: seen.ports },
      ],
      apply: async (action) => {
        if (action.kind === "plug") {
          await ports.plug(action.device, BRIDGE);
          log.info("a container's wire was plugged into the bridge again", { device: action.device });
          return;
        }
        const text = JSON.stringify(action.ports);
        if (text !== known) state.setPorts("engine", action.ports);
        known = text;
      },
    },
    {
      clock,
      onFailure: (error) => {
        // The engine's absence is told by the network part; what was known stays, since wires outlive the engine.
        if (error.message !== told) log.debug(error.message, { hint: error.hint });
        told = error.message;
      },
    },
  );
  return {
    name: "ports",
    run: async (signal) => {
      const changed = settle(() => loop.poke(), SETTLE_MS, { clock, signal });
      await Promise.all([loop.run(signal), engine.watch(changed, signal), ports.watch(BRIDGE, changed, signal)]);
    },
  };
}

async function observePorts(engine: PortsPartOptions["engine"], ports: BridgePorts): Promise<Seen> {
  const [plugged, containers] = await Promise.all([ports.list(BRIDGE), engine.listContainers()]);
  const pids = choosePids(ENGINE_NETWORK, containers);
  const indexes = await Promise.all(pids.map(async (pid) => [pid, (await ports.indexesOf(pid)) ?? []] as const));
  const seen = { bridgePorts: plugged ?? [], containers, indexes: new Map(indexes) };
  const found = planPorts(ENGINE_NETWORK, seen);
  const served = new Set(found.map(({ container }) => container));
  const cut = containers.filter(
    ({ id, pid, addresses }) => pid !== null && addresses[ENGINE_NETWORK] !== undefined && !served.has(id),
  );
  // Where every container has its wire, as always but after an accident, nothing is asked further.
  const loose = plugged === null || cut.length === 0 ? [] : await ports.loose();
  if (loose.length === 0) return { ports: found, plugs: [] };
  const far = await Promise.all(
    choosePids(ENGINE_NETWORK, cut).map(async (pid) => [pid, (await ports.farPorts(pid)) ?? []] as const),
  );
  const plugs = choosePlugs(ENGINE_NETWORK, { containers: cut, loose, farPorts: new Map(far) });
  return { ports: found, plugs };
}
