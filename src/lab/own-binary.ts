import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AppError } from "../model/error.ts";

/** Where Bun keeps the files of a compiled program. */
const COMPILED_ROOT = "/$bunfs/";

/**
 * The `apollo` program to put on hosts: this one when it is the built program, else the one in dist/ of these sources.
 * @throws AppError `unavailable` when there is none.
 */
export function ownBinary(): string {
  if (Bun.main.startsWith(COMPILED_ROOT)) return process.execPath;
  const built = fileURLToPath(new URL("../../dist/apollo", import.meta.url));
  if (!existsSync(built)) {
    throw new AppError("unavailable", "Cannot find the apollo program to put on hosts: dist/apollo is not built", {
      hint: "npm run build",
    });
  }
  return built;
}
