import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { AppError, describeError } from "../../model/error.ts";
import type { StateFile } from "../ports/state-file.ts";

/** Only the owner may read what may hold credentials. */
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** A file that is written beside itself, synced and renamed, so that a reader finds the old text or the new. */
export function diskFile(path: string): StateFile {
  return {
    path,
    read: async () => {
      try {
        return await readFile(path, "utf8");
      } catch (cause) {
        if (isMissing(cause)) return null;
        throw new AppError("unavailable", `Cannot read "${path}": ${describeError(cause)}`, { cause });
      }
    },
    write: async (text) => {
      const temporary = `${path}.new`;
      try {
        await mkdir(dirname(path), { recursive: true, mode: DIRECTORY_MODE });
        const file = await open(temporary, "w", FILE_MODE);
        try {
          await file.writeFile(text);
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(temporary, path);
      } catch (cause) {
        const hint = "Check that the disk has room and is not mounted read-only";
        throw new AppError("unavailable", `Cannot write "${path}": ${describeError(cause)}`, { cause, hint });
      }
    },
  };
}

function isMissing(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && error.code === "ENOENT";
}
