import { generateKeyPairSync } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { AppError, describeError } from "../../model/error.ts";
import type { HostKeys } from "../ports/host-keys.ts";

/** Strictly, since `wg` repeats a key that it cannot read in its error. */
const KEY = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);
const pair = z.object({ publicKey: KEY, privateKey: KEY });
const shape = z.object({ form: z.literal(1), sinceMs: z.number(), current: pair, next: pair });
type Stored = z.infer<typeof shape>;

/**
 * Opens the key file, which only its owner reads (0600), or makes it with two fresh pairs.
 * @throws AppError `unavailable` when it cannot be read or written or holds something else.
 */
export function openKeyFile(path: string, nowMs: number): HostKeys {
  let stored: Stored =
    read(path) ?? write(path, { form: 1, sinceMs: nowMs, current: makeKeyPair(), next: makeKeyPair() });
  return {
    announced: () => announced(stored),
    sinceMs: () => stored.sinceMs,
    rotate: (atMs) => {
      stored = write(path, { form: 1, sinceMs: atMs, current: stored.next, next: makeKeyPair() });
      return announced(stored);
    },
    privateKeyOf: (publicKey) => (stored.current.publicKey === publicKey ? stored.current.privateKey : null),
  };
}

function announced({ current, next }: Stored): ReturnType<HostKeys["announced"]> {
  return { publicKey: current.publicKey, nextPublicKey: next.publicKey };
}

/** X25519 (RFC 7748), in the base64 that WireGuard's tools write. */
export function makeKeyPair(): Stored["current"] {
  const { privateKey } = generateKeyPairSync("x25519");
  const { d, x } = privateKey.export({ format: "jwk" });
  return { publicKey: toBase64(x), privateKey: toBase64(d) };
}

function toBase64(text: string | undefined): string {
  return Buffer.from(text ?? "", "base64url").toString("base64");
}

function read(path: string): Stored | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return null;
    throw new AppError("unavailable", `Cannot read keys "${path}": ${describeError(cause)}`, { cause });
  }
  const result = shape.safeParse(parseJson(text));
  if (result.success) return result.data;
  throw new AppError("unavailable", `Cannot read keys "${path}": it does not hold this host's keys`, {
    hint: "Remove the file: new keys are made and told to the others",
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Beside it first, then by its name: a power cut leaves the old keys or the new ones. */
function write(path: string, stored: Stored): Stored {
  const aside = `${path}.${process.pid}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(aside, { force: true });
    const file = openSync(aside, "wx", 0o600);
    try {
      writeSync(file, `${JSON.stringify(stored)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(aside, path);
    return stored;
  } catch (cause) {
    throw new AppError("unavailable", `Cannot write keys "${path}": ${describeError(cause)}`, {
      cause,
      hint: "Check the space and the rights of its directory",
    });
  } finally {
    rmSync(aside, { force: true });
  }
}
