import type { Container } from "../model/container.ts";
import type { InstanceId } from "../model/ids.ts";
import type { Assignment, InstanceStatus } from "../model/instance.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { chooseAddress, isInBlocks } from "../network/choose-address.ts";
import type { HealthRecord } from "./observed-state.ts";
import { instanceOf } from "./instance-container.ts";

/** The engine network that containers of this host go to. */
export interface ContainerNetwork {
  readonly name: string;
  /** False on the engine's default network, which takes none. */
  readonly fixedAddresses: boolean;
  /** The part of the IPv6 range that containers on it have addresses of; null or missing: they have none. */
  readonly host6?: string | null;
}

/** The end of a container's main process, as the engine told it. */
export interface Death {
  readonly exitCode: number | null;
  readonly atMs: number;
  /** The engine was asked to end it: by a stop by hand, or by the engine's own end. */
  readonly told: boolean;
}

/** An operation under way for an instance: what it does is told by its own progress, not by the plan. */
export interface Busy {
  readonly status: InstanceStatus;
  /** The address that it was given. */
  readonly address: Ipv4 | null;
}

export interface ObservedContainers {
  /** Ours and others'. */
  readonly containers: readonly Container[];
  /** By container id: deaths that happened while a server was connected. */
  readonly deaths: ReadonlyMap<string, Death>;
  /** Containers that the engine was asked to end a moment ago, by id. */
  readonly told: ReadonlySet<string>;
  readonly busy: ReadonlyMap<InstanceId, Busy>;
  /** Instances whose start or life ended badly, as reported; kept until the assignment goes. */
  readonly failures: ReadonlyMap<InstanceId, InstanceStatus & { readonly phase: "failed" }>;
  readonly network: ContainerNetwork | null;
  /** Names of declared networks that containers can be started on; there the engine asks for the address itself. */
  readonly declared: ReadonlySet<string>;
  readonly addresses: KnownAddresses;
  readonly hostAddress: HostAddress;
  readonly nowMs: number;
}

/** What may be handed out on this host. */
export interface KnownAddresses {
  /** All blocks of this host, the first one first; [] before it has any. */
  readonly blocks: readonly string[];
  /** Those to choose from; some are on their way back to the server. */
  readonly open: readonly string[];
  /** What the engine hands out of the first block by itself; null for all of it. */
  readonly engineRange: string | null;
  /** Addresses of owners that the engine does not know. */
  readonly taken: ReadonlySet<Ipv4>;
  /** Addresses used before, oldest first; those that were let go a moment ago are also in `resting`. */
  readonly recent: readonly Ipv4[];
  readonly resting: ReadonlySet<Ipv4>;
  /** Why no further block comes; null: it is worth waiting for one. */
  readonly problem: string | null;
}

export interface WantedContainers {
  readonly assignments: ReadonlyMap<InstanceId, Assignment>;
  readonly health: ReadonlyMap<InstanceId, HealthRecord>;
  readonly connected: boolean;
  /** No server for so long that this host acts on its own. */
  readonly alone: boolean;
}

/** `stop` and `remove` of containers end with them gone; `condemn` keeps the stopped container as the record of its end. */
export type ContainerAction =
  | { readonly kind: "create"; readonly id: InstanceId; readonly network: string; readonly address: Ipv4 | null }
  | { readonly kind: "start"; readonly id: InstanceId; readonly containerId: string }
  /** It has proven that it runs: from now on the engine starts it again, whoever else is there. */
  | { readonly kind: "secure"; readonly id: InstanceId; readonly containerId: string }
  /** Recorded as failed without a try. */
  | { readonly kind: "refuse"; readonly id: InstanceId; readonly reason: string }
  | {
      readonly kind: "condemn";
      readonly id: InstanceId;
      readonly containerId: string;
      readonly exitCode: number | null;
    }
  | { readonly kind: "stop"; readonly id: InstanceId; readonly containerId: string; readonly graceMs: number };

export interface ContainersPlan {
  readonly actions: readonly ContainerAction[];
  /** What is so without any action, by instance. Null: nothing more to say of it. */
  readonly reports: ReadonlyMap<InstanceId, InstanceStatus | null>;
  /** Instances that wait for an address of a further block. */
  readonly waiting: number;
  /** Fixed addresses that something else on this host has, in words. */
  readonly blocked: readonly string[];
}

/** Time between SIGTERM and SIGKILL for a container whose assignment, and with it the wanted grace, is not known any more. */
const ORPHAN_GRACE_MS = 3000;
/** The engine tells its containers to end within this time of one another. */
export const TOLD_SETTLE_MS = 500;
/** Docker gives its containers 15 s to end before it ends itself. */
export const ENGINE_END_MS = 20_000;
/**
 * A misconfigured app ends within moments of its start, again and again by the server's will; the engine's own restarts
 * in between would run it twice each time. One that has run for so long is worth bringing back.
 */
export const SECURE_AFTER_MS = 5000;
/** While alone, a failed start is tried again after this: no server is there to make another instance. */
const RETRY_ALONE_MS = 30_000;

/**
 * What to do so that exactly the assigned instances run, and what to report. Rules, by what is wanted and seen:
 *
 * - wanted, no container: create, with an address that nobody has and that was not in use lately;
 * - wanted, never started: start, since an agent died between the two steps;
 * - wanted, has an address that is not this host's (any more): stop, and it is made anew;
 * - wanted, runs: report it, and let the engine keep it from then on. Died in a server's sight: condemn. Lies stopped: failed, or start it again while alone;
 * - not wanted (goal stopped, or unknown to a connected server): stop and remove. Without a server nothing unknown goes.
 */
export function planContainers(wanted: WantedContainers, observed: ObservedContainers): ContainersPlan {
  const actions: ContainerAction[] = [];
  const reports = new Map<InstanceId, InstanceStatus | null>();
  const own = ownContainers(observed.containers);
  const used = usedAddresses(observed);
  const blocked: string[] = [];
  let waiting = 0;
  const ids = [...new Set([...wanted.assignments.keys(), ...own.keys()])].toSorted();
  for (const id of ids) {
    const busy = observed.busy.get(id);
    if (busy !== undefined) {
      reports.set(id, busy.status);
      continue;
    }
    const assignment = wanted.assignments.get(id);
    const container = own.get(id);
    if (assignment === undefined || assignment.instance.goal === "stopped") {
      if (container === undefined) reports.set(id, assignment === undefined ? null : { phase: "gone" });
      else if (assignment !== undefined || wanted.connected) {
        const graceMs = assignment?.spec.stopGraceMs ?? ORPHAN_GRACE_MS;
        actions.push({ kind: "stop", id, containerId: container.id, graceMs });
      }
      continue;
    }
    const step =
      container === undefined
        ? planMissing(assignment, wanted, observed)
        : planPresent({ id, container }, wanted, observed);
    if (step.report !== null) reports.set(id, step.report);
    if (step.action === "create") {
      const place = choosePlace(assignment, observed, used);
      if (place.kind === "place") actions.push({ kind: "create", id, network: place.network, address: place.address });
      else if (place.kind === "refuse") actions.push({ kind: "refuse", id, reason: place.why });
      else {
        reports.set(id, { phase: "staging", step: "waiting", sinceMs: observed.nowMs });
        if (place.kind === "no-address") waiting += 1;
        if (place.kind === "blocked") blocked.push(place.why);
      }
    } else if (step.action !== null) actions.push(step.action);
  }
  return { actions, reports, waiting, blocked };
}

interface Step {
  readonly action: Exclude<ContainerAction, { kind: "create" }> | "create" | null;
  readonly report: InstanceStatus | null;
}

function planMissing(assignment: Assignment, wanted: WantedContainers, observed: ObservedContainers): Step {
  const failure = observed.failures.get(assignment.instance.id);
  if (failure !== undefined && !mayRetry(failure, wanted, observed.nowMs)) return { action: null, report: failure };
  // One that is on its way out and has no container any more has reached its goal.
  if (assignment.instance.goal === "draining") return { action: null, report: { phase: "gone" } };
  return { action: "create", report: null };
}

function planPresent(
  { id, container }: { readonly id: InstanceId; readonly container: Container },
  wanted: WantedContainers,
  observed: ObservedContainers,
): Step {
  const failure = observed.failures.get(id);
  if (wanted.connected && isForeign(container, observed)) {
    const graceMs = wanted.assignments.get(id)?.spec.stopGraceMs ?? ORPHAN_GRACE_MS;
    return { action: { kind: "stop", id, containerId: container.id, graceMs }, report: null };
  }
  switch (container.state) {
    case "created": {
      if (failure !== undefined && !mayRetry(failure, wanted, observed.nowMs)) return { action: null, report: failure };
      return { action: { kind: "start", id, containerId: container.id }, report: null };
    }
    case "running":
    case "paused":
    case "restarting": {
      const death = observed.deaths.get(container.id);
      // One that was told to end and runs again was restarted by hand: that is its owner's wish.
      if (death?.told === false && wanted.connected) {
        return { action: { kind: "condemn", id, containerId: container.id, exitCode: death.exitCode }, report: null };
      }
      if (container.state === "restarting" && wanted.connected) {
        return {
          action: { kind: "condemn", id, containerId: container.id, exitCode: container.exitCode },
          report: null,
        };
      }
      const secure = container.restart === "no" && observed.nowMs - (container.startedAtMs ?? 0) >= SECURE_AFTER_MS;
      return {
        action: secure ? { kind: "secure", id, containerId: container.id } : null,
        report: runningStatus(id, container, { wanted, observed }),
      };
    }
    case "exited":
    case "dead": {
      if (wanted.alone) return { action: { kind: "start", id, containerId: container.id }, report: null };
      if (failure !== undefined) return { action: null, report: failure };
      // The agent restarted moments ago: whether a server is there to replace it will be known soon.
      if (!wanted.connected || mayBeEnginesEnd(container, observed)) return { action: null, report: null };
      return { action: { kind: "condemn", id, containerId: container.id, exitCode: container.exitCode }, report: null };
    }
  }
}

/**
 * An engine that ends stops its containers first and answers meanwhile: their deaths are no failures, since it starts
 * them again when it is back. It tells all of them to end at once, so one that was not told shows that a hand did this.
 */
function mayBeEnginesEnd(container: Container, observed: ObservedContainers): boolean {
  const death = observed.deaths.get(container.id);
  if (death === undefined || !death.told) return false;
  const ageMs = observed.nowMs - death.atMs;
  if (ageMs < TOLD_SETTLE_MS) return true;
  const others = observed.containers.filter(({ id, state }) => id !== container.id && state === "running");
  return ageMs < ENGINE_END_MS && others.every(({ id }) => observed.told.has(id));
}

function runningStatus(
  id: InstanceId,
  container: Container,
  { wanted, observed }: { readonly wanted: WantedContainers; readonly observed: ObservedContainers },
): InstanceStatus {
  const assignment = wanted.assignments.get(id);
  const record = wanted.health.get(id);
  const known = record !== undefined && record.containerId === container.id;
  const checked = (assignment?.spec.healthChecks.length ?? 0) > 0;
  return {
    phase: "running",
    containerId: container.id,
    address: addressOf(container, observed.network) ?? observed.hostAddress,
    startedAtMs: container.startedAtMs ?? observed.nowMs,
    health: checked ? (known ? record.health : "unknown") : "none",
    checks: checked && known ? record.checks : [],
    condemned: checked && known && record.condemned,
  };
}

function addressOf(container: Container, network: ContainerNetwork | null): Ipv4 | null {
  const onOurs = network === null ? undefined : container.addresses[network.name];
  return onOurs ?? container.fixedAddress ?? Object.values(container.addresses)[0] ?? null;
}

type Place =
  | { readonly kind: "place"; readonly network: string; readonly address: Ipv4 | null }
  | { readonly kind: "no-network" | "no-address" }
  /** Something else has the fixed address. */
  | { readonly kind: "blocked"; readonly why: string }
  | { readonly kind: "refuse"; readonly why: string };

/** Where a new container goes, or why it cannot go anywhere. Takes the address out of what is left for the next one. */
function choosePlace({ spec, instance }: Assignment, observed: ObservedContainers, used: Set<Ipv4>): Place {
  const { network, addresses } = observed;
  if (spec.network === "host") return { kind: "place", network: "host", address: null };
  if (network === null || addresses.blocks.length === 0) return { kind: "no-network" };
  if (spec.network !== DEFAULT_NETWORK) {
    if (!observed.declared.has(spec.network)) return { kind: "no-network" };
    return { kind: "place", network: spec.network, address: null };
  }
  const fixed = instance.address;
  if (!network.fixedAddresses) {
    if (fixed === undefined) return { kind: "place", network: network.name, address: null };
    return { kind: "refuse", why: `Cannot give the instance address ${fixed}: ${NO_FIXED}` };
  }
  if (fixed !== undefined) {
    // Its lease is under way.
    if (!isInBlocks(fixed, addresses.blocks)) return { kind: "no-network" };
    if (used.has(fixed)) {
      const holder = observed.containers.find((each) => addressesOf(each).includes(fixed))?.name ?? "another owner";
      return { kind: "blocked", why: `Cannot start ${instance.id}: ${holder} has its fixed address ${fixed}` };
    }
    used.add(fixed);
    return { kind: "place", network: network.name, address: fixed };
  }
  const { open: blocks, engineRange, recent, resting, problem } = addresses;
  const address = chooseAddress({ blocks, engineRange, used, recent, resting, keepShare: problem === null });
  if (address === null) {
    if (problem === null) return { kind: "no-address" };
    const where = addresses.blocks.join(", ");
    return { kind: "refuse", why: `Cannot start the instance: no address is left in this host's ${where}. ${problem}` };
  }
  used.add(address);
  return { kind: "place", network: network.name, address };
}

const NO_FIXED = "the engine's default network takes none; take bridge out of /etc/docker/daemon.json";

/** Its block is another host's now: nobody is led here, and another container may have the address there. */
export function isForeign(container: Container, { network, addresses }: ObservedContainers): boolean {
  if (network === null || !network.fixedAddresses || addresses.blocks.length === 0) return false;
  const address = container.addresses[network.name] ?? container.fixedAddress;
  return address !== null && !isInBlocks(address, addresses.blocks);
}

function addressesOf({ fixedAddress, addresses }: Container): readonly Ipv4[] {
  return fixedAddress === null ? Object.values(addresses) : [fixedAddress, ...Object.values(addresses)];
}

/** What containers have, or will have when they are started again; a stopped one keeps its fixed address. */
export function addressesInEngine(containers: readonly Container[]): Set<Ipv4> {
  return new Set(containers.flatMap(addressesOf));
}

function mayRetry(failure: { readonly atMs: number }, wanted: WantedContainers, nowMs: number): boolean {
  return wanted.alone && nowMs - failure.atMs >= RETRY_ALONE_MS;
}

function ownContainers(containers: readonly Container[]): ReadonlyMap<InstanceId, Container> {
  const own = new Map<InstanceId, Container>();
  for (const container of containers) {
    const id = instanceOf(container);
    if (id !== null) own.set(id, container);
  }
  return own;
}

/** Those of containers, those that are about to be taken, and those of owners that the engine does not know. */
function usedAddresses(observed: ObservedContainers): Set<Ipv4> {
  const used = new Set([...addressesInEngine(observed.containers), ...observed.addresses.taken]);
  for (const { address } of observed.busy.values()) if (address !== null) used.add(address);
  return used;
}
