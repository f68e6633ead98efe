import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../model/error.ts";
import { type KeyPairPem, makeServerCertificate, readCertificate, serverNames } from "./certificates.ts";
import { readPair, writePair } from "./identity.ts";

/** Paths of PEM files with which servers know each other as such. */
export interface PeerIdentity {
  readonly certificate: string;
  readonly key: string;
  readonly ca: string;
}

/**
 * Makes a certificate for what servers say to each other, signed by the CA in `directory`: a new one with each start of the
 * server, since a process reads it once.
 * @throws AppError `unavailable` when there is no CA or a file cannot be written.
 */
export async function makePeerIdentity(
  directory: string,
  names: readonly string[],
  nowMs: number,
): Promise<PeerIdentity> {
  const ca = readAuthority(directory);
  writePair(directory, "peer", await makeServerCertificate(ca, serverNames(names), nowMs, "peer"));
  const of = (name: string): string => join(directory, name);
  return { certificate: of("peer.crt"), key: of("peer.key"), ca: of("ca.crt") };
}

/** The cluster's CA with its key: for a further server. @throws AppError `unavailable` when it is not there. */
export function readAuthority(directory: string): KeyPairPem {
  const pair = readPair(directory, "ca");
  if (pair === null) throw new AppError("unavailable", `Cannot read the cluster's CA: it is not in "${directory}"`);
  return pair;
}

/** Keeps the CA of a cluster that this server joins. @throws AppError `invalid` for what is no certificate. */
export function keepAuthority(directory: string, pair: KeyPairPem): void {
  readCertificate(pair.certificate);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writePair(directory, "ca", pair);
}
