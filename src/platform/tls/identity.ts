import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { AppError, describeError } from "../../model/error.ts";
import {
  fingerprint,
  isSignedBy,
  makeCertificateAuthority,
  makeServerCertificate,
  readCertificate,
  serverNames,
  type KeyPairPem,
} from "./certificates.ts";

/** What a server shows to its clients. */
export interface Identity {
  /** PEM of the CA certificate, public. */
  readonly ca: string;
  /** What join tokens pin. */
  readonly caFingerprint: string;
  /** PEM of the server's certificate and its private key. */
  readonly certificate: string;
  readonly key: string;
}

/** A server that is restarted once a month never meets an expired certificate. */
const RENEW_BEFORE_MS = 60 * 86_400_000;

/**
 * Loads the identity kept in `directory`, making what is missing: the CA on the first start, and a new server certificate
 * when the old one nears its end, lacks one of `names` (host names and addresses alike) or was signed by another CA.
 * A new server certificate disturbs no client, since they trust the CA. A CA is never replaced: that would lock out every host.
 * @throws AppError `unavailable` when files cannot be read or written, or half of the CA is missing.
 */
export async function openIdentity(directory: string, names: readonly string[], nowMs: number): Promise<Identity> {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new AppError("unavailable", `Cannot make directory "${directory}": ${describeError(cause)}`, { cause });
  }
  const ca = await openAuthority(directory, nowMs);
  const kept = readPair(directory, "server");
  const server = kept !== null && stillServes(kept, ca, names, nowMs) ? kept : await renew(directory, ca, names, nowMs);
  return { ca: ca.certificate, caFingerprint: fingerprint(ca.certificate), ...server };
}

async function openAuthority(directory: string, nowMs: number): Promise<KeyPairPem> {
  const kept = readPair(directory, "ca");
  if (kept === null) {
    const made = await makeCertificateAuthority(nowMs);
    writePair(directory, "ca", made);
    return made;
  }
  if (readCertificate(kept.certificate).notAfterMs <= nowMs) {
    throw new AppError("unavailable", `Cannot use CA in "${directory}": it has expired`, {
      hint: "Check the clock of this machine; a cluster's CA lives ten years",
    });
  }
  return kept;
}

async function renew(directory: string, ca: KeyPairPem, names: readonly string[], nowMs: number): Promise<KeyPairPem> {
  const made = await makeServerCertificate(ca, serverNames(names), nowMs);
  writePair(directory, "server", made);
  return made;
}

function stillServes(pair: KeyPairPem, ca: KeyPairPem, given: readonly string[], nowMs: number): boolean {
  let found: ReturnType<typeof readCertificate>;
  try {
    found = readCertificate(pair.certificate);
  } catch {
    return false; // A damaged server certificate is simply made anew.
  }
  const wanted = serverNames(given);
  return (
    found.notAfterMs - nowMs > RENEW_BEFORE_MS &&
    wanted.dns.every((name) => found.names.dns.includes(name)) &&
    wanted.ips.every((ip) => found.names.ips.includes(ip)) &&
    isSignedBy(pair.certificate, ca.certificate)
  );
}

export function readPair(directory: string, name: string): KeyPairPem | null {
  const certificate = readText(join(directory, `${name}.crt`));
  const key = readText(join(directory, `${name}.key`));
  if (certificate !== null && key !== null) return { certificate, key };
  // The key is written first: without a certificate nobody has seen it yet, and it may be replaced.
  if (certificate !== null && name === "ca") {
    throw new AppError("unavailable", `Cannot use CA in "${directory}": ${name}.key is missing`, {
      hint: `Restore ${join(directory, "ca.key")} from a backup; a new CA would lock out every host`,
    });
  }
  return null;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return null;
    throw new AppError("unavailable", `Cannot read "${path}": ${describeError(cause)}`, { cause });
  }
}

export function writePair(directory: string, name: string, pair: KeyPairPem): void {
  writeWhole(join(directory, `${name}.key`), pair.key, 0o600);
  writeWhole(join(directory, `${name}.crt`), pair.certificate, 0o644);
}

/** Swapped in by rename, so that a crash leaves the old file or the new one. */
function writeWhole(path: string, text: string, mode: number): void {
  try {
    const file = openSync(`${path}.new`, "w", mode);
    chmodSync(`${path}.new`, mode);
    writeSync(file, text);
    fsyncSync(file);
    closeSync(file);
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw new AppError("unavailable", `Cannot write "${path}": ${describeError(cause)}`, { cause });
  }
}
