import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";

/** A file of the project; `path` is relative to its root, with slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** What is checked by the rules of this folder. */
export const CHECKED_FOLDERS = ["src", "tools", "test", "bench", "examples"];
const CODE = /\.(?:ts|tsx|mts|mjs|js)$/;

/** All code below the folders, by path; generated and installed files are none of it. */
export function readSourceFiles(root: string, folders: readonly string[] = CHECKED_FOLDERS): readonly SourceFile[] {
  return folders
    .flatMap((folder) => listFiles(root, folder))
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
}

function listFiles(root: string, folder: string): readonly string[] {
  if (!existsSync(join(root, folder))) return [];
  const names = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  return names
    .filter((entry) => entry.isFile() && CODE.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !path.includes("node_modules/"))
    .toSorted();
}

export function formatViolation({ path, line, message }: Violation): string {
  return `${path}:${line} ${message}`;
}
