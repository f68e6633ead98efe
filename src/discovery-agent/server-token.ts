/** The right to become a server of the cluster, which holds all its keys: more than what lets clients join. */
import { formatJoinToken, matchesHash, newSecret, parseJoinToken } from "../cluster/tokens.ts";
import { AppError } from "../model/error.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { HttpRequest } from "../platform/ports/http.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store } from "../platform/ports/store.ts";
import { serverPaths } from "./server-files.ts";

const KEY = "secret/servers";

export interface ServerTokenDeps {
  readonly store: Store;
  readonly random: Random;
  readonly digest: Digest;
  readonly dataDir: string;
  /** Names the CA as this token does. */
  readonly joinToken: string;
}

export interface ServerToken {
  readonly text: string;
  /** @throws AppError `denied` for a request that does not show it. */
  check(request: HttpRequest): void;
}

/** Makes it once for the cluster, and keeps it in the data directory of each server that leads. */
export async function openServerToken({ store, random, digest, ...deps }: ServerTokenDeps): Promise<ServerToken> {
  let secret = ((await store.get(KEY))?.value as { readonly secret?: string } | undefined)?.secret;
  if (secret === undefined) {
    secret = newSecret(random);
    await store.commit([{ kind: "put", key: KEY, value: { secret } }], [{ key: KEY, revision: 0 }]);
  }
  const { caFingerprint } = parseJoinToken(deps.joinToken);
  const text = formatJoinToken({ caFingerprint, secret });
  await diskFile(serverPaths(deps.dataDir).serverToken).write(`${text}\n`);
  const hash = digest.sha256(secret);
  const check = (request: HttpRequest): void => {
    const shown = /^bearer +(\S+)$/i.exec(request.header("authorization") ?? "")?.[1] ?? "";
    if (matchesHash(digest, shown, hash)) return;
    throw new AppError("denied", "Cannot become a server: the token is not the cluster's server token", {
      hint: 'It is in the file "server-token" of the data directory of each server; the join token lets clients join',
    });
  };
  return { text, check };
}
