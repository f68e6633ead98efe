/** Where Bun keeps the files of a compiled program. */
const COMPILED_ROOT = "/$bunfs/";

/** argv that starts this program anew: the built one by itself, else Bun with its entry. */
export function ownArgv(): readonly string[] {
  return Bun.main.startsWith(COMPILED_ROOT) ? [process.execPath] : [process.execPath, Bun.main];
}
