import type { JoinExamination } from "../cluster/check-join.ts";
import { parseJoinToken } from "../cluster/tokens.ts";
import { AppError } from "../model/error.ts";
import type { HostResources } from "../model/host.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { JoinClient } from "../platform/ports/join-client.ts";
import type { StateFile } from "../platform/ports/state-file.ts";

/** What makes this machine a host of a cluster; kept in a file that only its owner may read. */
export interface Membership {
  readonly hostId: string;
  readonly name: string;
  readonly credential: string;
  readonly caPem: string;
  readonly serverUrls: readonly string[];
  /** The cluster has ended it. */
  readonly removed?: boolean;
}

export interface JoinWish {
  readonly serverUrl: string;
  readonly token: string;
  readonly name: string;
  readonly address: HostAddress;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: HostResources;
  /** Ranges of the machine's own routes, so that the server can refuse a clash. */
  readonly hostRanges: readonly string[];
  /** What the machine found out about itself. */
  readonly examination?: JoinExamination;
}

const JOINING_BYTES = 8192;

/** The membership of this machine, or null before it joined. @throws AppError `invalid` for a file that is not ours. */
export async function readMembership(file: StateFile): Promise<Membership | null> {
  const text = await file.read();
  if (text === null) return null;
  const json = parse(text);
  if (isJoining(json)) return null;
  if (!isMembership(json)) {
    throw new AppError("invalid", `Cannot read "${file.path}": it is not what a join writes`, {
      hint: "Move it away and join again with a token from apollo host token",
    });
  }
  return json;
}

/**
 * Joins a cluster: the token's fingerprint decides whether the server that answers is the right one before it is told
 * the secret. What proves that the name is this machine's comes with the answer and is kept nowhere else, so the file is written
 * before as well: a disk that is full or read-only refuses the join while the server knows nothing of it. A join that fails
 * half-way leaves the membership as it was, or none.
 *
 * @throws AppError `invalid` for the token, `denied` for another server or a refused secret, `conflict` for a taken name
 *   or a range that clashes, `unavailable`.
 */
export async function joinCluster(wish: JoinWish, client: JoinClient, file: StateFile): Promise<Membership> {
  const token = parseJoinToken(wish.token);
  const ca = await client.fetchCa(wish.serverUrl);
  if (ca.fingerprint !== token.caFingerprint) {
    throw new AppError(
      "denied",
      `Cannot join over ${wish.serverUrl}: the server is not the one that the token is for`,
      {
        hint: "Check the address; if the cluster was made anew, get a new token: apollo host token",
      },
    );
  }
  const { name, address, labels, resources, hostRanges, examination } = wish;
  // A machine that joins again proves by its old credential that the name is its own.
  const before = await readMembership(file).catch(() => null);
  const credential = before?.credential ?? null;
  await file.write(before === null ? joiningText(name) : textOf(before));
  const answer = await client.post({
    url: wish.serverUrl,
    path: "/api/join",
    bearer: token.secret,
    caPem: ca.pem,
    body: { name, address, labels, resources, hostRanges, credential, ...(examination && { examination }) },
  });
  if (!isGrant(answer))
    throw new AppError("unavailable", `Cannot join over ${wish.serverUrl}: the server's answer is not a grant`);
  const membership = {
    hostId: answer.hostId,
    name,
    credential: answer.credential,
    caPem: ca.pem,
    serverUrls: [wish.serverUrl],
  };
  await file.write(textOf(membership));
  return membership;
}

/** As long as a membership with the longest name, credential and chain of certificates will be. */
function joiningText(name: string): string {
  return textOf({ joining: name, room: " ".repeat(JOINING_BYTES) });
}

function textOf(content: Membership | { readonly joining: string; readonly room: string }): string {
  return `${JSON.stringify(content, null, 2)}\n`;
}

function isJoining(value: unknown): boolean {
  return hasTexts(value, ["joining", "room"]);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isGrant(value: unknown): value is { readonly hostId: string; readonly credential: string } {
  return hasTexts(value, ["hostId", "credential"]);
}

function isMembership(value: unknown): value is Membership {
  if (!hasTexts(value, ["hostId", "name", "credential", "caPem"])) return false;
  const urls = (value as { readonly serverUrls?: unknown }).serverUrls;
  return Array.isArray(urls) && urls.length > 0 && urls.every((url) => typeof url === "string");
}

function hasTexts(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === "string");
}
