/**
 * How a machine becomes a host. A join is one commit: the host's record, its name and its block, each under a
 * condition, so that of two joins that race for a name or a block one starts over and neither leaves half of itself.
 */
import type { ClusterSettings } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { Host, HostPhase, HostResources } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { HostAddress } from "../model/ip6.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store, StoreCondition, StoreEntry, StoreWrite } from "../platform/ports/store.ts";
import { type JoinExamination, checkJoin } from "./check-join.ts";
import { leaseCommit, readLeases } from "./leases.ts";
import type { KnownLeases } from "./leases.ts";
import { matchesHash, newSecret } from "./tokens.ts";

export interface JoinRequest {
  readonly name: string;
  readonly address: HostAddress;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: HostResources;
  /** Ranges of the machine's own routes, as CIDR texts: the container range must not touch them. */
  readonly hostRanges: readonly string[];
  /** Credential of an earlier join under this name, when the machine still has it. */
  readonly credential: string | null;
  /** The request came from the server's own machine, as that of `apollo up` does. */
  readonly local: boolean;
  /** Missing from agents of before. */
  readonly examination?: JoinExamination;
}

export interface JoinGrant {
  readonly host: Host;
  /** Shown once; the store has its hash. */
  readonly credential: string;
  readonly block: string;
  /** `rejoined`: the same machine again. `replaced`: another machine took the name of a host that was down. */
  readonly kind: "joined" | "rejoined" | "replaced";
}

/** Network's choice of a block, passed in so that this room does not depend on that one; CIDR texts. */
export type ChooseBlock = (input: {
  readonly range: string;
  readonly blockPrefix: number;
  readonly taken: readonly string[];
  readonly avoid: readonly string[];
}) =>
  | { readonly kind: "block"; readonly block: string }
  | { readonly kind: "problem"; readonly message: string; readonly hint: string };

/** Network's check of the container range against a machine's own ranges; null when they do not touch. */
export type CheckRangeClash = (
  range: string,
  hostRanges: readonly string[],
) => { readonly with: readonly string[]; readonly suggestion: string | null } | null;

export interface JoinContext {
  readonly store: Store;
  readonly random: Random;
  readonly digest: Digest;
  readonly nowMs: number;
  readonly settings: Pick<ClusterSettings, "range" | "blockPrefix">;
  readonly chooseBlock: ChooseBlock;
  readonly checkRangeClash: CheckRangeClash;
  /** Fixed addresses that apps have declared, as /32 texts: no block may cover them. */
  readonly reserved: readonly string[];
  phaseOf(id: HostId): HostPhase;
}

export const HOST_PREFIX = "host/";
export const HOST_NAME_PREFIX = "host-name/";
/** A boot of a whole rack makes races; each loss of one means that another host got in. */
const ATTEMPTS_MAX = 200;

export function hostKey(id: HostId): string {
  return HOST_PREFIX + id;
}

/**
 * Makes or renews the record of a host and leases it a block.
 * @throws AppError `conflict` when the name belongs to a host that lives, or the machine's own routes use the range,
 * `unavailable` when no block is free.
 */
export async function joinHost(context: JoinContext, request: JoinRequest): Promise<JoinGrant> {
  assertRangeFree(context, request);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    // Leases first: whatever is changed of them while the rest is read makes the commit fail.
    const leases = await readLeases(context.store);
    const [hosts, name] = await Promise.all([
      context.store.list(HOST_PREFIX),
      context.store.get(HOST_NAME_PREFIX + request.name),
    ]);
    assertUnderlayFree(context, request, hosts);
    checkJoin(
      context,
      request,
      hosts.map(({ value }) => value as Host),
    );
    const plan = planJoin(context, request, { hosts, name, leases });
    if ((await context.store.commit(plan.writes, plan.conditions)) !== null) return plan.grant;
  }
  throw new AppError("unavailable", `Cannot join host "${request.name}": too many hosts join at once`, {
    hint: "Try again",
  });
}

/** What ends a membership: record and name go, and every block that it holds is free for others at once. */
export function removalOf(
  host: Host,
  known: KnownLeases,
  nowMs: number,
): { readonly writes: readonly StoreWrite[]; readonly conditions: readonly StoreCondition[] } {
  const own = known.leases.filter(({ hostId }) => hostId === host.id);
  const steps = own.map(({ block, hostId }) => ({ kind: "give-back", block, hostId }) as const);
  const { writes, conditions } = leaseCommit(known, steps, nowMs);
  const records = [hostKey(host.id), HOST_NAME_PREFIX + host.name].map((key) => ({ kind: "delete", key }) as const);
  return { writes: [...records, ...writes], conditions };
}

interface Known {
  readonly hosts: readonly StoreEntry[];
  readonly name: StoreEntry | null;
  readonly leases: KnownLeases;
}

interface JoinPlan {
  readonly grant: JoinGrant;
  readonly writes: readonly StoreWrite[];
  readonly conditions: readonly StoreCondition[];
}

function planJoin(context: JoinContext, request: JoinRequest, known: Known): JoinPlan {
  const { random, digest } = context;
  const entry = known.hosts.find(({ value }) => (value as Host).name === request.name);
  const before = entry === undefined ? null : (entry.value as Host);
  const kind = before === null ? "joined" : judgeName(context, request, before);
  const kept = before?.blocks[0];
  const block = kept ?? leaseBlock(context, known);
  const credential = newSecret(random);
  const host: Host = {
    id: before?.id ?? (random.uuid() as HostId),
    name: request.name,
    address: request.address,
    credentialHash: digest.sha256(credential),
    blocks: before !== null && kept !== undefined ? before.blocks : [block],
    resources: request.resources,
    labels: request.labels,
    joinedAtMs: before?.joinedAtMs ?? context.nowMs,
    cordoned: before?.cordoned ?? false,
  };
  const writes: StoreWrite[] = [
    { kind: "put", key: hostKey(host.id), value: host },
    { kind: "put", key: HOST_NAME_PREFIX + host.name, value: { hostId: host.id } },
  ];
  const conditions: StoreCondition[] = [
    { key: hostKey(host.id), revision: entry?.revision ?? 0 },
    { key: HOST_NAME_PREFIX + host.name, revision: known.name?.revision ?? 0 },
  ];
  if (kept === undefined) {
    const lease = leaseCommit(known.leases, [{ kind: "take", block, hostId: host.id }], context.nowMs);
    writes.push(...lease.writes);
    conditions.push(...lease.conditions);
  }
  return { grant: { host, credential, block, kind }, writes, conditions };
}

/**
 * A host that shows its credential is itself. Without it the name goes over only when its holder is known to be down:
 * `joining` hosts were not heard of since this server started and may well live. Only the server's own machine has its name
 * back then: its one agent asks now, and `apollo up` starts the server moments before, so it would be `joining` each time.
 * An address alone proves nothing, since it is what the request says.
 */
function judgeName(context: JoinContext, request: JoinRequest, before: Host): "rejoined" | "replaced" {
  if (request.credential !== null && matchesHash(context.digest, request.credential, before.credentialHash)) {
    return "rejoined";
  }
  const phase = context.phaseOf(before.id);
  if (phase === "down" || (phase === "joining" && request.local && request.address === before.address))
    return "replaced";
  throw new AppError("conflict", `Cannot join host "${request.name}": another host has that name (${before.address})`, {
    hint: `Choose another name with --name, or remove the old host with "apollo host remove ${request.name}"`,
    details: { hostId: before.id },
  });
}

function leaseBlock(context: JoinContext, { leases, hosts }: Known): string {
  const recorded = hosts.flatMap(({ value }) => (value as Host).blocks);
  const taken = [...new Set([...leases.leases.map(({ block }) => block), ...recorded])];
  const { range, blockPrefix } = context.settings;
  const choice = context.chooseBlock({ range, blockPrefix, taken, avoid: context.reserved });
  if (choice.kind === "block") return choice.block;
  throw new AppError("unavailable", choice.message, { hint: choice.hint });
}

/** Refused before anything is set up: packets for the container range would leave by the machine's own routes. */
function assertRangeFree(context: JoinContext, request: JoinRequest): void {
  const { range } = context.settings;
  const clash = context.checkRangeClash(range, request.hostRanges);
  if (clash === null) return;
  const other = clash.suggestion === null ? "another --range" : `--range ${clash.suggestion}`;
  throw new AppError(
    "conflict",
    `Cannot join host "${request.name}": its own routes use ${clash.with.join(", ")}, which the container range ${range} covers`,
    { hint: `Start the cluster with ${other}, or change the routes of ${request.name}`, details: { with: clash.with } },
  );
}

/** Packets for a host's own address would go to containers: the new host's, and those of the members before it. */
function assertUnderlayFree(context: JoinContext, request: JoinRequest, hosts: readonly StoreEntry[]): void {
  const { range } = context.settings;
  const members = hosts.map(({ value }) => value as Host).filter(({ name }) => name !== request.name);
  for (const { name, address } of [request, ...members]) {
    if (!isIpv4(address) || !cidrContains(parseCidr(range), address)) continue;
    throw new AppError(
      "conflict",
      `Cannot join host "${request.name}": address ${address} of host "${name}" lies in the container range ${range}`,
      { hint: `Join with an --address outside of ${range}, or make the cluster with another --range` },
    );
  }
}
