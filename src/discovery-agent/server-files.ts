/** What a server keeps in its data directory beside the store. */
import { rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { AppError } from "../model/error.ts";
import { diskFile } from "../platform/files/disk-file.ts";

/** The mark of a server that is one of several: how its etcd began, and where the others were then. */
export interface GroupFile {
  readonly state: "new" | "existing";
  readonly members: readonly { readonly name: string; readonly peerUrl: string }[];
  /** `https://ADDRESS:PORT` of the servers. */
  readonly urls: readonly string[];
}

const text = z.string().min(1).max(1024);
export const groupSchema = z.object({
  state: z.enum(["new", "existing"]),
  members: z.array(z.object({ name: text, peerUrl: text })).max(64),
  urls: z.array(text).max(64),
});

export interface ServerPaths {
  readonly tls: string;
  readonly etcd: string;
  readonly group: string;
  readonly store: string;
  /** What is left of the store that the server had while it was alone: for people, nothing reads it. */
  readonly formerStore: string;
  /** Lets clients join. */
  readonly joinToken: string;
  /** Lets servers join. */
  readonly serverToken: string;
}

export function serverPaths(dataDir: string): ServerPaths {
  const of = (name: string): string => join(dataDir, name);
  return {
    tls: of("tls"),
    etcd: of("etcd"),
    group: of("servers.json"),
    store: of("state.db"),
    formerStore: of("state.db.before-etcd"),
    joinToken: of("join-token"),
    serverToken: of("server-token"),
  };
}

/** Null for a server that is alone. @throws AppError `invalid` for a file that is not ours. */
export async function readGroupFile(dataDir: string): Promise<GroupFile | null> {
  const file = diskFile(serverPaths(dataDir).group);
  const content = await file.read();
  if (content === null) return null;
  try {
    return groupSchema.parse(JSON.parse(content));
  } catch (cause) {
    throw new AppError("invalid", `Cannot read "${file.path}": it is not what a server wrote`, {
      cause,
      hint: "Restore it from a backup, or empty the data directory and join anew",
    });
  }
}

export async function writeGroupFile(dataDir: string, group: GroupFile): Promise<void> {
  await diskFile(serverPaths(dataDir).group).write(`${JSON.stringify(group, null, 2)}\n`);
}

/** Null when it is not there. */
export function readTokenFile(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

/** A server that is none any more keeps no key of the cluster's. */
export async function forgetServer(dataDir: string): Promise<void> {
  const { group, etcd, tls, formerStore, joinToken, serverToken } = serverPaths(dataDir);
  // The mark first: without it the rest is never looked at.
  for (const path of [group, etcd, tls, formerStore, joinToken, serverToken, join(dataDir, "admin.json")])
    await rm(path, { recursive: true, force: true });
}
