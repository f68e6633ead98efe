import type { JoinExamination } from "../cluster/check-join.ts";
import type { HostResources } from "../model/host.ts";
import { AppError } from "../model/error.ts";
import type { JoinClient } from "../platform/ports/join-client.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { AgentConfig } from "./agent-config.ts";
import { joinCluster, readMembership } from "./join.ts";
import type { Membership } from "./join.ts";

export interface FindMembershipWorld {
  readonly file: StateFile;
  readonly client: JoinClient;
  readonly resources: () => Promise<HostResources>;
  /** Ranges of the machine's own routes. */
  readonly hostRanges: readonly string[];
  /** Looks at the machine; only before a join. */
  readonly examine?: () => Promise<JoinExamination>;
}

/**
 * The membership on disk; the first time, and when the last one was ended by the cluster, a join with the token that was
 * given. @throws AppError `invalid` when there is none to use and no token, and all that a join throws.
 */
export async function findMembership(config: AgentConfig, world: FindMembershipWorld): Promise<Membership> {
  const { file, client, hostRanges } = world;
  const membership = await readMembership(file);
  const removed = membership?.removed === true;
  if (membership !== null && !removed) return membership;
  const { serverUrl, token, name, address, labels } = config;
  if (serverUrl === null || token === null) {
    const why = removed ? "this host was removed from its cluster" : "this host has not joined a cluster yet";
    throw new AppError("invalid", `Cannot start the agent: ${why}`, {
      hint: "apollo agent --server https://ADDRESS:8443 --token TOKEN, with a token from apollo host token",
    });
  }
  const wish = { serverUrl, token, name, address, labels, resources: await world.resources(), hostRanges };
  const examination = await world.examine?.();
  return joinCluster(examination === undefined ? wish : { ...wish, examination }, client, file);
}

/** Notes that the cluster has ended the membership: the next start with a token joins anew. */
export async function markRemoved(membership: Membership, file: StateFile): Promise<void> {
  await file.write(`${JSON.stringify({ ...membership, removed: true }, null, 2)}\n`);
}
