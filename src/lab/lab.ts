import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { SERVER_PORT, awaitHosts, readJoinToken, startAgent, startServer, writeAdminConfig } from "./apollo-daemons.ts";
import { bootNode, placeBinary, startHolder } from "./boot-node.ts";
import { downLab } from "./down-lab.ts";
import { startEngine } from "./engine.ts";
import { startFabric, startRegistry, startResolver } from "./fabric.ts";
import { startForward } from "./forward.ts";
import { labPaths } from "./lab-paths.ts";
import { SERVER_NODE, labNameFrom, nodeOf, planLab } from "./lab-plan.ts";
import type { LabNode, LabPlan } from "./lab-plan.ts";
import { claimLabName, requireLabState, writeLabState } from "./lab-state.ts";
import type { LabForward, LabParts, LabState } from "./lab-state.ts";
import { execInHost, mustExec } from "./node-command.ts";
import type { ExecOptions } from "./node-command.ts";
import { processRef } from "./process-table.ts";
import type { ProcessRef } from "./process-table.ts";
import type { CommandResult } from "./run-command.ts";

export interface LabOptions {
  /** Default: a name of its own. */
  readonly name?: string;
  readonly hosts: number;
  /** `engines`: fabric, hosts and Docker only, without Apollo. Default `all`. */
  readonly parts?: LabParts;
  /** Path of the `apollo` program that hosts get; needed for `all`. */
  readonly binary?: string;
  /** Added to every engine's daemon.json, such as `{bridge, "fixed-cidr"}`. */
  readonly engineConfig?: Readonly<Record<string, unknown>>;
  /** More words for `apollo server`, such as `--block-prefix 28`. */
  readonly serverArgs?: readonly string[];
  readonly onProgress?: (text: string) => void;
  /** Interrupts: what was made so far is removed and the promise rejects. */
  readonly signal?: AbortSignal;
}

/** Handle on a lab that is up. Another process gets one by `openLab`. */
export class Lab {
  readonly name: string;
  readonly plan: LabPlan;

  constructor(name: string, plan: LabPlan) {
    this.name = name;
    this.plan = plan;
  }

  /** Names of the hosts with an engine. */
  get hosts(): readonly string[] {
    return this.plan.nodes.filter((node) => node.role === "host").map((node) => node.name);
  }

  get adminConfigPath(): string {
    return labPaths(this.name).adminConfig;
  }

  get logsDir(): string {
    return labPaths(this.name).logs;
  }

  node(host: string): LabNode {
    return nodeOf(this.plan, host);
  }

  /** @throws AppError `not-found` when there is no forwarder to that port. */
  localPort(host: string, targetPort: number): number {
    return requireForward(this.name, host, targetPort).localPort;
  }

  exec(host: string, argv: readonly string[], options?: ExecOptions): Promise<CommandResult> {
    return execInHost(this.name, host, argv, options);
  }

  mustExec(host: string, argv: readonly string[], options?: ExecOptions): Promise<string> {
    return mustExec(this.name, host, argv, options);
  }

  down(): Promise<void> {
    return downLab(this.name);
  }
}

/** @throws AppError `not-found`, or `unavailable` for a lab that did not come up. */
export function openLab(name: string): Lab {
  const state = requireLabState(name);
  if (state.phase !== "up") {
    throw new AppError("unavailable", `Cannot use lab "${name}": it did not come up`, {
      hint: `apollo lab down ${name}`,
    });
  }
  return new Lab(name, planLab(name, state.hosts));
}

/**
 * Builds a lab: fabric, hosts with their engines, and unless `parts` says otherwise a server and an agent a host.
 * Whatever goes wrong, nothing is left behind. @throws AppError naming the step that failed.
 */
export async function upLab(options: LabOptions): Promise<Lab> {
  const plan = planLab(options.name ?? labNameFrom(randomUUID()), options.hosts);
  if ((options.parts ?? "all") === "all" && options.binary === undefined) {
    throw new AppError("invalid", "Cannot start a lab with Apollo: no binary was given", { hint: "npm run build" });
  }
  claimLabName(plan.name);
  try {
    await new LabStart(plan, options).run();
  } catch (error) {
    await downLab(plan.name);
    throw error;
  }
  return new Lab(plan.name, plan);
}

/** The steps of `upLab`; each leaves what it made in the state file, so that any other process can take it down. */
class LabStart {
  readonly #plan: LabPlan;
  readonly #options: LabOptions;
  readonly #hooks: { readonly signal: AbortSignal | undefined; readonly onProgress: (text: string) => void };
  #state: LabState;

  constructor(plan: LabPlan, options: LabOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#hooks = { signal: options.signal, onProgress: (text) => options.onProgress?.(text) };
    const owner = processRef(process.pid);
    if (owner === null) throw new Error("This process is not in /proc");
    this.#state = {
      name: plan.name,
      hosts: options.hosts,
      parts: options.parts ?? "all",
      phase: "starting",
      createdAtMs: systemClock.nowMs(),
      owner,
      run: process.env["APOLLO_LAB_RUN"] ?? null,
      engineConfig: options.engineConfig ?? {},
      processes: {},
      forwards: [],
    };
  }

  async run(): Promise<void> {
    const { onProgress, signal } = this.#hooks;
    const hosts = this.#plan.nodes.filter((node) => node.role === "host");
    mkdirSync(labPaths(this.#plan.name).logs, { recursive: true });
    this.#save({});
    if (this.#options.binary !== undefined) placeBinary(this.#options.binary, labPaths(this.#plan.name).binary);
    onProgress(`lab ${this.#plan.name}: fabric, registry, resolver`);
    await this.#startFabric();
    signal?.throwIfAborted();
    onProgress(`lab ${this.#plan.name}: ${hosts.length} hosts with an engine each`);
    for (const node of this.#plan.nodes) this.#addProcess(node.name, await bootNode(this.#plan, node, signal));
    const config = this.#state.engineConfig;
    await allOrFirstError(hosts.map((node) => startEngine(this.#plan.name, node.name, { config, ...this.#hooks })));
    if (this.#state.parts === "all") await this.#startApollo(hosts);
    this.#save({ phase: "up" });
  }

  async #startFabric(): Promise<void> {
    const fabric = await startFabric(this.#plan);
    this.#addProcess("fabric", fabric);
    this.#addProcess("gate", await startHolder(this.#plan.name, "gate", { network: null, kinds: [] }));
    await startResolver(this.#plan, fabric, this.#hooks.signal);
    await startRegistry(this.#plan, fabric, this.#hooks.signal);
  }

  async #startApollo(hosts: readonly LabNode[]): Promise<void> {
    const { name } = this.#plan;
    const server = nodeOf(this.#plan, SERVER_NODE);
    this.#hooks.onProgress(`lab ${name}: server`);
    const args = this.#options.serverArgs ?? [];
    const admin = await startServer(name, server, { ...this.#hooks, args });
    const forward = await this.#forward(server, SERVER_PORT);
    writeAdminConfig(name, admin, forward.localPort);
    for (const host of hosts) await this.#forward(host, 80);
    this.#hooks.onProgress(`lab ${name}: ${hosts.length} hosts join`);
    const token = readJoinToken(name);
    for (const host of hosts) await startAgent(name, host, { address: server.address, token });
    await awaitHosts(
      name,
      admin,
      hosts.map((host) => host.name),
      this.#hooks,
    );
  }

  async #forward(node: LabNode, port: number): Promise<LabForward> {
    const { gate, fabric } = this.#state.processes;
    if (gate === undefined || fabric === undefined) throw new Error("A forwarder needs the gate and the fabric");
    const forward = await startForward(this.#plan.name, { gate, fabric }, { node, port });
    this.#save({ forwards: [...this.#state.forwards, forward] });
    return forward;
  }

  #addProcess(part: string, process: ProcessRef): void {
    this.#save({ processes: { ...this.#state.processes, [part]: process } });
  }

  #save(change: Partial<LabState>): void {
    this.#state = { ...this.#state, ...change };
    writeLabState(this.#state);
  }
}

/** Waits for all even when one fails: a step left running would race with the clean-up. */
async function allOrFirstError(steps: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(steps)).find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

function requireForward(lab: string, host: string, targetPort: number): LabForward {
  const found = requireLabState(lab).forwards.find((item) => item.node === host && item.targetPort === targetPort);
  if (found === undefined) throw new AppError("not-found", `Cannot find a forwarder to ${host}:${targetPort}`);
  return found;
}
