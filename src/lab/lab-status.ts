import { listLabTraces } from "./down-lab.ts";
import { listCuts } from "./fabric.ts";
import { labPaths } from "./lab-paths.ts";
import { planLab } from "./lab-plan.ts";
import { readLabState } from "./lab-state.ts";
import type { LabForward } from "./lab-state.ts";
import { isAlive } from "./process-table.ts";

export interface LabStatus {
  readonly name: string;
  /** `broken`: began and did not come up, or its fabric died; only `down` helps. */
  readonly phase: "starting" | "up" | "broken";
  readonly parts: "engines" | "all" | null;
  readonly dir: string;
  readonly adminConfig: string | null;
  readonly nodes: readonly {
    readonly name: string;
    readonly role: "server" | "host";
    readonly address: string;
    readonly segment: number;
    readonly on: boolean;
  }[];
  readonly forwards: readonly LabForward[];
  /** Directions that are cut, as `h1>h2`. */
  readonly cuts: readonly string[];
}

export async function labStatus(name: string): Promise<LabStatus> {
  const state = readLabState(name);
  const dir = labPaths(name).dir;
  const broken = {
    name,
    phase: "broken",
    parts: null,
    dir,
    adminConfig: null,
    nodes: [],
    forwards: [],
    cuts: [],
  } as const;
  if (state === null) return broken;
  const plan = planLab(name, state.hosts);
  const on = (part: string): boolean => {
    const process = state.processes[part];
    return process !== undefined && isAlive(process);
  };
  const starting = state.phase === "starting" && isAlive(state.owner);
  const up = state.phase === "up" && on("fabric") && on("gate");
  return {
    name,
    phase: up ? "up" : starting ? "starting" : "broken",
    parts: state.parts,
    dir,
    adminConfig: state.parts === "all" && up ? labPaths(name).adminConfig : null,
    nodes: plan.nodes.map(({ mark: _mark, gateway: _gateway, ...node }) => ({ ...node, on: on(node.name) })),
    forwards: state.forwards,
    cuts: up ? await listCuts(name, plan.nodes) : [],
  };
}

/** Every lab of which there is anything, by name. */
export async function listLabs(): Promise<readonly LabStatus[]> {
  const statuses: LabStatus[] = [];
  for (const name of await listLabTraces()) statuses.push(await labStatus(name));
  return statuses;
}
