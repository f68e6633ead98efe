/**
 * How processes on one machine find each other without a secret on the command line: a server that listens on loopback leaves
 * its join token where programs of the same user, and nobody else, can read it.
 */
import { chmodSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { AppError, describeError } from "../model/error.ts";
import type { Log } from "../platform/ports/log.ts";

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** `place`: `ADDRESS:PORT` of the server. Returns what takes the file away again. @throws AppError `unavailable`, `denied`. */
function leaveToken(place: string, token: string): () => void {
  const path = pathOf(place);
  try {
    const directory = openDirectory();
    const temporary = join(directory, `${process.pid}.new`);
    writeFileSync(temporary, `${token}\n`, { mode: FILE_MODE });
    renameSync(temporary, path);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError("unavailable", `Cannot leave the join token in "${path}": ${describeError(cause)}`, { cause });
  }
  return () => {
    if (readToken(place) === token) rmSync(path, { force: true });
  };
}

export interface LocalTokens {
  /** Null: not known yet. */
  readonly join: string | null;
  readonly server: string | null;
}

/** What a server leaves on a loopback address for clients and for servers. Returns what takes it away again. */
export function leaveTokens(
  { bind, clusterPort }: { readonly bind: string; readonly clusterPort: number },
  { join: forClients, server }: LocalTokens,
  log: Log,
): () => void {
  if (!isLoopback(bind)) return () => undefined;
  const place = `${bind}:${clusterPort}`;
  const hides = [
    ...(forClients === null ? [] : [showToken(place, forClients, log)]),
    ...(server === null ? [] : [showToken(serverPlace(place), server, log)]),
  ];
  return () => {
    for (const hide of hides) hide();
  };
}

/** Others on this machine need it, and this process does not: a full disk is no reason to end. @throws AppError `denied`. */
function showToken(place: string, token: string, log: Log): () => void {
  try {
    return leaveToken(place, token);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "unavailable") throw error;
    log.warn(error.message, {
      hint: "Nodes on this machine need --token-file with the file of this one's data directory",
    });
    return () => undefined;
  }
}

/** Where the token for servers is. */
export function serverPlace(place: string): string {
  return `${place}-server`;
}

export function isLoopback(address: string): boolean {
  return address === "localhost" || address.startsWith("127.");
}

/** Null when no server of this user listens there. */
export function readToken(place: string): string | null {
  try {
    openDirectory();
    return readFileSync(pathOf(place), "utf8").trim();
  } catch {
    return null;
  }
}

/** A directory that another user made is none of ours, whatever is in it. */
function openDirectory(): string {
  const directory = directoryOf();
  mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
  const { uid } = lstatSync(directory);
  if (!lstatSync(directory).isDirectory() || uid !== userInfo().uid)
    throw new AppError("denied", `Cannot use "${directory}": it is another user's`);
  chmodSync(directory, DIRECTORY_MODE);
  return directory;
}

function directoryOf(): string {
  return join(tmpdir(), `apollo-discovery-${userInfo().uid}`);
}

function pathOf(place: string): string {
  return join(directoryOf(), `${place.replaceAll(/[^\w.-]/g, "_")}.token`);
}
