import { existsSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { readJoinToken, startAgent, startServer } from "./apollo-daemons.ts";
import { bootNode, endHolder } from "./boot-node.ts";
import { removeNodeRemains } from "./down-lab.ts";
import { startEngine } from "./engine.ts";
import { cutOneWay, healOneWay, markNode, narrowFabric } from "./fabric.ts";
import { labPaths } from "./lab-paths.ts";
import { SERVER_NODE, nodeOf, planLab } from "./lab-plan.ts";
import type { LabNode } from "./lab-plan.ts";
import { processOf, requireLabState, writeLabState } from "./lab-state.ts";
import { mustExec } from "./node-command.ts";
import { listInNamespace, processRef, signalProcess } from "./process-table.ts";
import { waitFor } from "./wait-for.ts";

/** Power off, without warning: RAM, kernel state and processes are gone, the disk is kept. */
export async function stopHost(lab: string, host: string): Promise<void> {
  const state = requireLabState(lab);
  nodeOf(planLab(lab, state.hosts), host);
  const { [host]: holder, ...processes } = state.processes;
  if (holder === undefined)
    throw new AppError("conflict", `Cannot stop ${host}: it is off`, { hint: `apollo lab start ${host}` });
  await endHolder(host, holder);
  await removeNodeRemains(lab, host);
  writeLabState({ ...state, processes });
}

/** Power on: boots from its disk and starts what ran there. Does not wait for the cluster to notice. */
export async function startHost(lab: string, host: string, onProgress?: (text: string) => void): Promise<void> {
  const state = requireLabState(lab);
  const plan = planLab(lab, state.hosts);
  const node = nodeOf(plan, host);
  if (state.processes[host] !== undefined) {
    throw new AppError("conflict", `Cannot start ${host}: it is on`, { hint: `apollo lab stop ${host}` });
  }
  // After a crash of the machine's own making there may be a namespace without a process.
  await removeNodeRemains(lab, host);
  const holder = await bootNode(plan, node);
  writeLabState({ ...state, processes: { ...state.processes, [host]: holder } });
  if (node.role === "host") await startEngine(lab, host, { config: state.engineConfig, onProgress });
  if (state.parts === "all") await startDaemonOf(lab, host);
}

/** One more host, which joins the cluster. Returns its name; the other nodes' /etc/hosts and the resolver do not know it. */
export async function addHost(lab: string, onProgress?: (text: string) => void): Promise<string> {
  const state = requireLabState(lab);
  const plan = planLab(lab, state.hosts + 1);
  const node = nodeOf(plan, `h${state.hosts + 1}`);
  writeLabState({ ...state, hosts: state.hosts + 1 });
  await markNode(lab, node);
  await startHost(lab, node.name, onProgress);
  return node.name;
}

/** Large packets between hosts vanish; null: no more. Hosts cut what they send to wire size themselves meanwhile. */
export async function narrowLinks(lab: string, bytesMax: number | null): Promise<void> {
  const state = requireLabState(lab);
  const hosts = planLab(lab, state.hosts).nodes.filter(({ role }) => role === "host");
  for (const { name } of hosts) {
    if (state.processes[name] === undefined) continue;
    // The kernel's bundles of packets would be taken for large ones, which no real wire sees.
    const on = bytesMax === null ? "on" : "off";
    await mustExec(lab, name, ["ethtool", "-K", "eth0", "tso", on, "gso", on]);
  }
  await narrowFabric(lab, hosts, bytesMax);
}

/** Starts the server or agent of a node that is on; the counterpart of `endDaemonOf`. */
export async function startDaemonOf(lab: string, host: string): Promise<void> {
  const plan = planLab(lab, requireLabState(lab).hosts);
  const node = nodeOf(plan, host);
  if (node.role === "server") await startServer(lab, node);
  else {
    // A host that has joined needs no token, and so shows that it needs none.
    const joined = existsSync(`${labPaths(lab).node(host).apollo}/agent.json`);
    const token = joined ? null : readJoinToken(lab);
    await startAgent(lab, node, { address: nodeOf(plan, SERVER_NODE).address, token });
  }
}

/**
 * Ends one of a node's own programs, waiting until it is gone: `apollo` (server or agent), `dockerd`, `haproxy`.
 * @returns how many processes got the signal; a program that is about to start another is two of its name for a moment.
 */
export async function endDaemonOf(lab: string, host: string, program: string, signal: NodeJS.Signals): Promise<number> {
  const init = processOf(lab, host);
  const found = listInNamespace(init).filter(({ argv }) => argv[0]?.split("/").at(-1) === program);
  const told = found.filter((process) => signalProcess(process, signal));
  const gone = (): boolean => told.every((process) => processRef(process.pid)?.startTicks !== process.startTicks);
  await waitFor(() => Promise.resolve(gone()), { what: `the end of ${program} on ${host}`, timeoutMs: 30_000 });
  return told.length;
}

/** A link between two nodes of a lab; `oneWay`: only what goes from `from` to `to`. */
export interface LabLink {
  readonly from: string;
  readonly to: string;
  readonly oneWay?: boolean;
}

export function cutLink(lab: string, link: LabLink): Promise<void> {
  return eachWay(lab, link, cutOneWay);
}

export function healLink(lab: string, link: LabLink): Promise<void> {
  return eachWay(lab, link, healOneWay);
}

async function eachWay(lab: string, { from, to, oneWay }: LabLink, change: typeof cutOneWay): Promise<void> {
  const [a, b] = linkEnds(lab, from, to);
  await change(lab, a, b);
  if (oneWay !== true) await change(lab, b, a);
}

function linkEnds(lab: string, from: string, to: string): readonly [LabNode, LabNode] {
  const plan = planLab(lab, requireLabState(lab).hosts);
  if (from === to) throw new AppError("invalid", `Cannot cut ${from} from itself`);
  return [nodeOf(plan, from), nodeOf(plan, to)];
}
