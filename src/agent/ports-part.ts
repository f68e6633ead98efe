import type { LocalPort } from "../network/local-port.ts";
import { ENGINE_NETWORK } from "../network/plan-engine-network.ts";
import { BRIDGE } from "../network/plan-network.ts";
import { choosePids, planPorts } from "../network/plan-ports.ts";
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

/** Keeps `state.ports` equal to what is plugged into our bridge; emits "ports" when that changes. */
export function createPortsPart({ state, engine, ports, clock, log }: PortsPartOptions): AgentPart {
  let told = "";
  let known = "";
  const loop = new ReconcileLoop<readonly LocalPort[], readonly LocalPort[]>(
    {
      name: "ports",
      observe: () => observePorts(engine, ports),
      plan: (found) => [found],
      apply: (found) => {
        const text = JSON.stringify(found);
        if (text !== known) state.setPorts("engine", found);
        known = text;
        return Promise.resolve();
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

async function observePorts(engine: PortsPartOptions["engine"], ports: BridgePorts): Promise<readonly LocalPort[]> {
  const [bridgePorts, containers] = await Promise.all([ports.list(BRIDGE), engine.listContainers()]);
  const pids = choosePids(ENGINE_NETWORK, containers);
  const indexes = await Promise.all(pids.map(async (pid) => [pid, (await ports.indexesOf(pid)) ?? []] as const));
  return planPorts(ENGINE_NETWORK, { bridgePorts, containers, indexes: new Map(indexes) });
}
