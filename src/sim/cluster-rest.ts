/** What a healed cluster must have come to: everywhere the same, and exactly what is wanted. */
import { LABEL_INSTANCE } from "../model/container.ts";
import { isReady } from "../model/instance.ts";
import { askName, readyServers } from "./ask-host.ts";
import type { WatchedWorld } from "./cluster-watch.ts";
import type { ServerProcess } from "./server-process.ts";
import type { SimMachine } from "./sim-machine.ts";

/** What is not yet so, in words. */
export function findUnrest(world: WatchedWorld): readonly string[] {
  const server = world.server();
  if (server === null) return ["there is no server"];
  const { machines, services } = world;
  return [
    ...checkApps(server),
    ...machines.flatMap((machine) => [...checkEngine(machine, server), ...checkAgent(machine, server)]),
    ...checkNames(machines, { services, server }),
    ...checkProxies(machines, server),
  ];
}

function checkApps({ cluster }: ServerProcess): string[] {
  const { apps, state, hub } = cluster;
  const unrest = apps.deployments().map(({ id, steps, currentStep }) => {
    return `deployment ${id} is at step ${currentStep} of ${JSON.stringify(steps)}`;
  });
  const instances = [...state.instances.values()];
  for (const { spec } of state.apps.values()) {
    const own = instances.filter(({ appId }) => appId === spec.id);
    if (own.length !== spec.instances) unrest.push(`${spec.id} has ${own.length} of ${spec.instances} instances`);
  }
  for (const { id, appId, goal, hostId } of instances) {
    if (!state.apps.has(appId)) unrest.push(`${id} is of a destroyed app`);
    const status = hub.statuses.get(id);
    if (goal !== "running" || !isReady(status)) {
      unrest.push(`${id} on ${state.hosts.get(hostId)?.name} is ${goal}: ${JSON.stringify(status ?? null)}`);
    }
  }
  for (const id of hub.statuses.keys()) if (!state.instances.has(id)) unrest.push(`the status of ${id} is left over`);
  return unrest;
}

function checkEngine(machine: SimMachine, { cluster }: ServerProcess): string[] {
  const host = cluster.state.hostByName(machine.name);
  if (host === null) return [`${machine.name} is no member`];
  const wanted = new Set<string>(cluster.state.instancesByHost.get(host.id)?.keys() ?? []);
  const unrest: string[] = [];
  for (const { name, labels, state } of machine.containers()) {
    const id = labels[LABEL_INSTANCE];
    if (id !== undefined && !wanted.delete(id)) unrest.push(`${name} is left over on ${machine.name}, ${state}`);
    if (state !== "running") unrest.push(`${name} on ${machine.name} is ${state}`);
  }
  for (const id of wanted) unrest.push(`${id} has no container on ${machine.name}`);
  return unrest;
}

function checkAgent(machine: SimMachine, { cluster }: ServerProcess): string[] {
  const { name, agent } = machine;
  const state = agent?.running?.state;
  if (agent === null || state?.connected !== true) return [`the agent of ${name} is not connected`];
  const unrest: string[] = [];
  const same = (what: string, have: unknown, want: unknown): void => {
    const [a, b] = [JSON.stringify(have), JSON.stringify(want)];
    if (a !== b) unrest.push(`${what} of ${name} differ: ${a} instead of ${b}`);
  };
  same("endpoints", state.endpoints(), cluster.catalog.list());
  same("hosts", state.hosts, cluster.catalog.hosts());
  const others = [...cluster.state.hosts.values()].filter((host) => host.name !== name);
  same("routes", machine.ownRoutes(), others.flatMap(({ blocks }) => blocks).toSorted());
  same("conditions", state.conditions(), []);
  same("revision", state.appliedRevision(), cluster.catalog.revision);
  if (agent.listener.bindings().length !== 4) unrest.push(`${name} listens on ${agent.listener.bindings().join(", ")}`);
  return unrest;
}

function checkNames(
  machines: readonly SimMachine[],
  { services, server }: { readonly services: readonly string[]; readonly server: ServerProcess },
): string[] {
  return services.flatMap((service) => {
    const endpoints = server.cluster.catalog.service(service)?.endpoints ?? [];
    const passing = endpoints.filter(({ health }) => health === "passing");
    const wanted = [...new Set(passing.map(({ address }) => address as string))].toSorted().join(" ");
    return machines.flatMap((machine) => {
      const answer = askName(machine, service)?.join(" ");
      return answer === wanted ? [] : [`${service} is "${answer}" on ${machine.name}, not "${wanted}"`];
    });
  });
}

function checkProxies(machines: readonly SimMachine[], { cluster }: ServerProcess): string[] {
  const passing = cluster.catalog.list().filter(({ health }) => health === "passing");
  const wanted = passing.map(({ service, address, port }) => `svc_${service} ${address}:${port}`).toSorted();
  const names = cluster.catalog.services().map(({ name }) => `${name}.example.com`);
  return machines.flatMap((machine) => {
    const { servers, map, running } = machine.proxy.state();
    const ready = readyServers(machine);
    const unrest = running ? [] : [`HAProxy on ${machine.name} does not run`];
    if (ready.join() !== wanted.join())
      unrest.push(`HAProxy on ${machine.name} has ${ready.join()}, not ${wanted.join()}`);
    if (servers.length !== ready.length) unrest.push(`HAProxy on ${machine.name} keeps servers that left`);
    if (Object.keys(map).toSorted().join() !== names.toSorted().join())
      unrest.push(`HAProxy on ${machine.name} knows the names ${Object.keys(map).toSorted().join()}`);
    return unrest;
  });
}
