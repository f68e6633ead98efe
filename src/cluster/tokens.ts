import { AppError } from "../model/error.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { Random } from "../platform/ports/random.ts";

/** 256 bits: cannot be guessed, so a plain hash without salt or stretching is enough to store. */
const SECRET_BYTES = 32;
const SECRET = /^[A-Za-z0-9_-]{16,128}$/;
const FINGERPRINT = /^[A-Za-z0-9_-]{43}$/;

/** What a new host is given: who the server is, and the right to join. */
export interface JoinToken {
  /** SHA-256 of the CA certificate's DER, base64url. */
  readonly caFingerprint: string;
  readonly secret: string;
}

export function newSecret(random: Random): string {
  return random.secret(SECRET_BYTES);
}

/** `apollo1.<hash>.<secret>`; the 1 is the version of this form. */
export function formatJoinToken(token: JoinToken): string {
  return `apollo1.${token.caFingerprint}.${token.secret}`;
}

/** @throws AppError `invalid`; the message never repeats the token. */
export function parseJoinToken(text: string): JoinToken {
  const [version, caFingerprint = "", secret = "", rest] = text.trim().split(".");
  if (version !== "apollo1" || rest !== undefined || !FINGERPRINT.test(caFingerprint) || !SECRET.test(secret)) {
    throw new AppError("invalid", "Cannot read join token: it must look like apollo1.HASH.SECRET, whole", {
      hint: 'Get one with "apollo host token" on a machine that has the admin token',
    });
  }
  return { caFingerprint, secret };
}

/** True when the secret's hash is `hash` (hex). The time it takes does not tell how much of it is right. */
export function matchesHash(digest: Digest, secret: string, hash: string): boolean {
  return equalsConstantTime(digest.sha256(secret), hash);
}

/** Compares without an early exit. Lengths may be told apart: hashes have one length. */
export function equalsConstantTime(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let at = 0; at < a.length; at++) difference |= a.charCodeAt(at) ^ b.charCodeAt(at % Math.max(1, b.length));
  return difference === 0;
}
