import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import { type Ipv4, isIpv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { parseTarget } from "../network/attachment.ts";
import { gatewayOf } from "../network/blocks.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { AgentState } from "./agent-state.ts";
import { holderOf, ownGateway6 } from "./trace-networks.ts";

export interface TraceEndWorld {
  readonly state: AgentState;
  readonly engine: Pick<Engine, "listContainers">;
}

/** Who has an address on this host, and where that can be looked into. */
export interface TraceEnd {
  readonly kind: "host" | "container";
  readonly name: string;
  /** As the engine has it; null for the host, and for what no engine knows. */
  readonly state: string | null;
  /** Path of its network namespace; null for the host's own, undefined for one that has none now. */
  readonly namespace: string | null | undefined;
}

/** Null when nobody on this host has it. */
export async function findTraceEnd(
  world: TraceEndWorld,
  address: HostAddress,
  network: string | null = null,
): Promise<TraceEnd | null> {
  const { state } = world;
  const own = state.identity?.hostName ?? "";
  if (ownAddresses(state).includes(address)) return { kind: "host", name: own, state: null, namespace: null };
  const containers = await listContainers(world);
  const holder = holderOf(state.localHolders(), address, network === null ? [] : [network]);
  // The engine tells of IPv4 alone; and segments may have the same address twice.
  const container =
    containers.find(({ name }) => name === holder?.container) ??
    containers.find((each) => [...Object.values(each.addresses), each.fixedAddress].some((own) => own === address));
  if (container !== undefined) return endOfContainer(container);
  return findAttached(state, holder?.address ?? address);
}

/** A container by its name or id, on the network or not; null when the engine has none. */
export async function findContainerNamed(world: TraceEndWorld, name: string): Promise<Container | null> {
  const all = await listContainers(world);
  const isId = /^[0-9a-f]{12,64}$/.test(name);
  return all.find((each) => each.name === name || (isId && each.id.startsWith(name))) ?? null;
}

export function endOfContainer({ name, state, pid }: Container): TraceEnd {
  return { kind: "container", name, state, namespace: pid === null || pid === 0 ? undefined : `/proc/${pid}/ns/net` };
}

/** What this host answers at: as a member, and as the gateway of its containers. */
export function ownAddresses(state: AgentState): readonly HostAddress[] {
  const { identity, hosts } = state;
  if (identity === null) return [];
  const mine = hosts.flatMap(({ name, address }) => (name === identity.hostName ? [address] : []));
  const six = ownGateway6(state);
  return [
    ...mine,
    ...(identity.blocks.length === 0 ? [] : [gatewayOf(identity.blocks)]),
    ...(six === null ? [] : [six]),
  ];
}

async function listContainers({ engine }: TraceEndWorld): Promise<readonly Container[]> {
  try {
    return await engine.listContainers();
  } catch (error) {
    // The engine is away: its containers may run on, and what else is known is still worth telling.
    if (error instanceof AppError) return [];
    throw error;
  }
}

/** What `apollo net attach` wired by process or namespace, which no engine knows. */
async function findAttached(state: AgentState, address: HostAddress): Promise<TraceEnd | null> {
  const rows = await attachedRows(state);
  const row = rows.find((each) => each.address === address);
  if (row === undefined) return null;
  const target = parseTarget(row.what);
  const namespace =
    target.kind === "netns" ? target.path : target.kind === "pid" ? `/proc/${target.pid}/ns/net` : undefined;
  return { kind: "container", name: row.name ?? row.what, state: null, namespace };
}

interface AttachedRow {
  readonly what: string;
  readonly address: Ipv4;
  readonly name: string | null;
}

async function attachedRows(state: AgentState): Promise<readonly AttachedRow[]> {
  try {
    const answer = await state.queries.ask({ kind: "attachments" }, AbortSignal.timeout(1000));
    const { attachments } = answer as { readonly attachments: readonly AttachedRow[] };
    return attachments.filter((row) => isIpv4(row.address));
  } catch (error) {
    if (error instanceof AppError) return [];
    throw error;
  }
}
