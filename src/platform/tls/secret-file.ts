import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { AppError, describeError } from "../../model/error.ts";

/**
 * The secret kept in a file that only its owner reads (0600), made on the first call. Of two processes that start at
 * once both get the one that was there first.
 * @throws AppError `unavailable` when it cannot be read or written, or is empty.
 */
export function openSecretFile(path: string, make: () => string): string {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const found = read(path) ?? create(path, make());
    if (found !== "") return found;
  } catch (cause) {
    throw new AppError("unavailable", `Cannot open secret "${path}": ${describeError(cause)}`, { cause });
  }
  throw new AppError("unavailable", `Cannot open secret "${path}": the file is empty`, {
    hint: "Remove it to have a new one made; clients that use the old one must then be told",
  });
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** Written aside and linked in: a reader never sees half of it, and a link, unlike a rename, never replaces. */
function create(path: string, secret: string): string {
  const aside = `${path}.${process.pid}.new`;
  rmSync(aside, { force: true });
  const file = openSync(aside, "wx", 0o600);
  writeSync(file, `${secret}\n`);
  fsyncSync(file);
  closeSync(file);
  try {
    linkSync(aside, path);
    return secret;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return read(path) ?? secret;
    throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}
