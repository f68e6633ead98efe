/** The engine's networks for declared ones: of our own driver, under the network's name, on every host. */
import type { Condition } from "../model/wire.ts";
import type { EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { declaredGateway } from "./declared-network.ts";
import { PLUGIN_DRIVER, OPTION_NETWORK } from "./parse-plugin-call.ts";

/** Tells networks that we made from those of users. */
export const OPTION_MADE = "apollo.made";

export interface EnginePlan {
  readonly create: readonly EngineNetworkSpec[];
  readonly remove: readonly string[];
  /** Names that containers can be started on. */
  readonly usable: readonly string[];
  readonly conditions: readonly Condition[];
}

export function planDeclaredEngine(ready: readonly DeclaredNetwork[], networks: readonly EngineNetwork[]): EnginePlan {
  const byName = new Map(networks.map((network) => [network.name, network]));
  const create: EngineNetworkSpec[] = [];
  const remove: string[] = [];
  const usable: string[] = [];
  const conditions: Condition[] = [];
  for (const network of ready) {
    const { name, range } = network;
    const current = byName.get(name);
    if (current === undefined) create.push(specOf(network));
    else if (isFor(current, network)) usable.push(name);
    else if (isMade(current) && Object.keys(current.containers).length === 0) remove.push(name);
    else {
      conditions.push({
        code: "engine-network-taken",
        severity: "warning",
        text: `The engine has a network "${name}" of its own, so containers cannot join the cluster's network "${name}" by that name`,
        hint: `docker network rm ${name}, or use another: docker network create -d apollo --ipam-driver apollo -o apollo.network=${name} --ipam-opt apollo.network=${name} --subnet ${range} OTHER`,
      });
    }
  }
  const names = new Set(ready.map(({ name }) => name));
  for (const network of networks) if (isMade(network) && !names.has(network.name)) remove.push(network.name);
  return { create, remove: remove.toSorted(), usable, conditions };
}

function specOf({ name, range }: DeclaredNetwork): EngineNetworkSpec {
  const options = { [OPTION_NETWORK]: name };
  return {
    name,
    driver: PLUGIN_DRIVER,
    subnet: range,
    ipRange: range,
    gateway: declaredGateway(range),
    reserved: {},
    options: { ...options, [OPTION_MADE]: "yes" },
    ipamOptions: options,
  };
}

function isFor(current: EngineNetwork, { name, range }: DeclaredNetwork): boolean {
  return current.driver === PLUGIN_DRIVER && current.options[OPTION_NETWORK] === name && current.subnet === range;
}

/** One that the agent made, and may take away. */
export function isMade({ driver, options }: EngineNetwork): boolean {
  return driver === PLUGIN_DRIVER && options[OPTION_MADE] !== undefined;
}
