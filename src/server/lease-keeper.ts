import { blocksAfter, leaseCommit, readLeases, type KnownLeases } from "../cluster/leases.ts";
import type { Host } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { AddressUse, LeaseProblem } from "../model/lease.ts";
import { isFixedBlock } from "../model/lease.ts";
import { declaredNetworks } from "../model/network-config.ts";
import type { DeclaredLease, DeclaredLeaseHost } from "../network/plan-declared-leases.ts";
import { networksAfter, planDeclaredLeases } from "../network/plan-declared-leases.ts";
import { planLeases, type LeaseInput, type PlannedLease } from "../network/plan-leases.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StoreWrite } from "../platform/ports/store.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";

export interface LeaseKeeperDeps {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly log: Log;
  /** Why a host gets no further block has changed. */
  readonly onProblem: (id: HostId) => void;
}

interface Observed {
  readonly known: KnownLeases;
  readonly input: LeaseInput;
  readonly declared: readonly DeclaredLeaseHost[];
}

interface Batch {
  readonly known: KnownLeases;
  readonly steps: readonly PlannedLease[];
  readonly declared: readonly DeclaredLease[];
}

type Uses = Readonly<Record<string, AddressUse>>;
type Problems = Readonly<Record<string, LeaseProblem>>;

/** Leases blocks to hosts, and takes back what they offer: the only one to change a lease of a member. */
export class LeaseKeeper {
  readonly #deps: LeaseKeeperDeps;
  readonly #loop: ReconcileLoop<Observed, Batch>;
  readonly #uses = new Map<HostId, AddressUse>();
  readonly #networkUses = new Map<HostId, Uses>();
  #problems: ReadonlyMap<HostId, LeaseProblem> = new Map();
  #networkProblems: ReadonlyMap<HostId, Problems> = new Map();
  /** The store did not take or answer the last pass. */
  #fault: LeaseProblem | null = null;
  #storing: Promise<void> = Promise.resolve();

  constructor(deps: LeaseKeeperDeps) {
    this.#deps = deps;
    this.#loop = new ReconcileLoop<Observed, Batch>(
      {
        name: "leases",
        observe: () => this.#observe(),
        plan: (observed) => this.#plan(observed),
        apply: (batch) => this.#apply(batch),
      },
      {
        clock: deps.clock,
        onFailure: (error) => {
          deps.log.error("Cannot change leases of blocks", { error: error.message, cause: error.cause });
          this.#setFault({ text: `Cannot lease a further block: ${error.message}`, hint: "Look at the server's log" });
        },
        onPass: (clean) => (clean ? this.#setFault(null) : undefined),
      },
    );
    deps.state.onCommit((writes) => {
      if (writes.some((write) => this.#matters(write))) this.#loop.poke();
    });
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#loop.run(signal);
  }

  /** Takes what a host says of its addresses. */
  hear(id: HostId, use: AddressUse, networks: Uses = {}): void {
    const before = [this.#uses.get(id), this.#networkUses.get(id)];
    this.#uses.set(id, use);
    this.#networkUses.set(id, networks);
    if (JSON.stringify(before) !== JSON.stringify([use, networks])) this.#loop.poke();
  }

  /** Its last word was that of an agent that is gone. */
  forget(id: HostId): void {
    this.#uses.delete(id);
    this.#networkUses.delete(id);
  }

  /** By declared network: why this host gets no block of it. */
  networkProblemsOf(id: HostId): Problems {
    return this.#networkProblems.get(id) ?? {};
  }

  /** Why this host gets no further block; null when it will. */
  problemOf(id: HostId): LeaseProblem | null {
    return this.#problems.get(id) ?? this.#fault;
  }

  /** Resolves when no lease is being changed: what a host is told of its blocks then holds. Never rejects. */
  settled(): Promise<void> {
    return this.#storing;
  }

  #setFault(fault: LeaseProblem | null): void {
    if (JSON.stringify(fault) === JSON.stringify(this.#fault)) return;
    this.#fault = fault;
    for (const id of this.#uses.keys()) this.#deps.onProblem(id);
  }

  #matters({ key }: StoreWrite): boolean {
    return (
      key.startsWith("host/") || key.startsWith("net/network/") || (key.startsWith("instance/") && this.#usesFixed())
    );
  }

  #usesFixed(): boolean {
    const { apps, hosts } = this.#deps.state;
    return (
      [...apps.values()].some(({ spec }) => (spec.addresses ?? []).length > 0) ||
      [...hosts.values()].some(({ blocks }) => blocks.some(isFixedBlock))
    );
  }

  async #observe(): Promise<Observed> {
    const { state } = this.#deps;
    const known = await readLeases(state.store);
    const { range, blockPrefix } = state.settings;
    const fixed = new Map<Ipv4, HostId>();
    for (const { address, hostId } of state.instances.values()) if (address !== undefined) fixed.set(address, hostId);
    const hosts = [...state.hosts.values()].map(({ id, blocks }) => ({ id, blocks, use: this.#uses.get(id) ?? null }));
    const declared = [...state.hosts.values()].map(({ id, networks = {} }) => ({
      id,
      networks,
      uses: this.#networkUses.get(id) ?? null,
    }));
    return {
      known,
      declared,
      input: { range, blockPrefix, hosts, leases: known.leases, reserved: state.fixedAddresses(), fixed },
    };
  }

  #plan({ known, input, declared: hosts }: Observed): readonly Batch[] {
    const { steps, problems } = planLeases(input);
    const declared = planDeclaredLeases(declaredNetworks(this.#deps.state.networkConfig()), hosts);
    const before = [this.#problems, this.#networkProblems] as const;
    this.#problems = problems;
    this.#networkProblems = declared.problems;
    const text = (id: HostId, of: typeof before): string => JSON.stringify(of.map((each) => each.get(id)));
    const now = [problems, declared.problems] as const;
    for (const id of new Set([...before, ...now].flatMap((each) => [...each.keys()]))) {
      if (text(id, before) !== text(id, now)) this.#deps.onProblem(id);
    }
    return steps.length === 0 && declared.steps.length === 0 ? [] : [{ known, steps, declared: declared.steps }];
  }

  async #apply(batch: Batch): Promise<void> {
    const storing = this.#store(batch);
    this.#storing = storing.catch(() => undefined);
    return storing;
  }

  async #store({ known, steps, declared }: Batch): Promise<void> {
    const { state, clock, log } = this.#deps;
    const { writes, conditions } = leaseCommit(known, steps, clock.nowMs());
    const all = [...writes];
    const under = [...conditions];
    const every = [...steps, ...declared];
    for (const id of new Set(every.map(({ hostId }) => hostId))) {
      const entry = await state.store.get(keyOf.host(id));
      if (entry === null) {
        // Removed meanwhile: its blocks went with it, so nothing may be leased to it.
        under.push({ key: keyOf.host(id), revision: 0 });
        if (every.some((step) => step.hostId === id && step.kind === "take")) return this.#loop.poke();
        continue;
      }
      const host = entry.value as Host;
      under.push({ key: entry.key, revision: entry.revision });
      all.push({ kind: "put", key: entry.key, value: hostAfter(host, steps, declared) });
    }
    // Somebody else changed a lease or a host at the same time: look again.
    if ((await state.store.commit(all, under)) === null) return this.#loop.poke();
    for (const { kind, ...step } of every) log.info(kind === "take" ? "block leased" : "block returned", step);
  }
}

function hostAfter(host: Host, steps: readonly PlannedLease[], declared: readonly DeclaredLease[]): Host {
  const { networks: before = {}, ...rest } = host;
  const networks = networksAfter(host.id, before, declared);
  const blocks = blocksAfter(host, steps);
  return Object.keys(networks).length === 0 ? { ...rest, blocks } : { ...rest, blocks, networks };
}
