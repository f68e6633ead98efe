import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatJoinToken, newSecret } from "../cluster/tokens.ts";
import { AppError } from "../model/error.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store } from "../platform/ports/store.ts";

const KEY = "secret/access";
/** Only root reads files that open the cluster. */
const SECRET_MODE = 0o600;

/** What the store keeps; the admin token itself is only in the admin file. */
interface StoredSecrets {
  readonly adminTokenHash: string;
  readonly joinSecret: string;
  readonly sessionKey: string;
}

export interface Secrets extends StoredSecrets {
  readonly joinSecretHash: string;
  readonly joinToken: string;
  readonly adminFile: string;
}

export interface SecretsInput {
  readonly store: Store;
  readonly random: Random;
  readonly digest: Digest;
  readonly dataDir: string;
  readonly url: string;
  readonly ca: string;
  readonly caFingerprint: string;
  /** Makes a new admin token; the old one and all sessions end. */
  readonly resetAdminToken: boolean;
}

/**
 * Makes the admin token and the join secret on the first start, and keeps `admin.json` ({url, token, ca}) and `join-token`
 * in the data directory true on every start.
 */
export async function openSecrets(input: SecretsInput): Promise<Secrets> {
  const { store, digest, random, dataDir } = input;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const adminFile = join(dataDir, "admin.json");
  const entry = await store.get(KEY);
  const known = entry === null ? null : (entry.value as StoredSecrets);
  let token = readToken(adminFile);
  let stored = known;
  if (known === null || input.resetAdminToken) {
    token = newSecret(random);
    stored = {
      adminTokenHash: digest.sha256(token),
      joinSecret: known?.joinSecret ?? newSecret(random),
      sessionKey: newSecret(random),
    };
    await store.commit([{ kind: "put", key: KEY, value: stored }], [{ key: KEY, revision: entry?.revision ?? 0 }]);
  }
  if (stored === null) throw new AppError("internal", "Cannot open the cluster's secrets: they were not stored");
  // Someone else's token in the file must not be spread further; the operator may have moved the file away on purpose.
  if (token !== null && digest.sha256(token) === stored.adminTokenHash) {
    writeSecret(adminFile, `${JSON.stringify({ url: input.url, token, ca: input.ca }, null, 2)}\n`);
  }
  const joinToken = formatJoinToken({ caFingerprint: input.caFingerprint, secret: stored.joinSecret });
  writeSecret(join(dataDir, "join-token"), `${joinToken}\n`);
  return { ...stored, joinSecretHash: digest.sha256(stored.joinSecret), joinToken, adminFile };
}

function readToken(file: string): string | null {
  if (!existsSync(file)) return null;
  try {
    const { token } = JSON.parse(readFileSync(file, "utf8")) as { token?: unknown };
    return typeof token === "string" ? token : null;
  } catch {
    return null;
  }
}

/** Whole or not at all, and never readable by others, not even for a moment. */
function writeSecret(file: string, text: string): void {
  const temporary = `${file}.new`;
  writeFileSync(temporary, text, { mode: SECRET_MODE });
  chmodSync(temporary, SECRET_MODE);
  renameSync(temporary, file);
}
