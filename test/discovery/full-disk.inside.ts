/**
 * Runs in a mount namespace of its own: puts a small file system over the directory, starts a node on it, and fills or frees
 * that at a word on its standard input, or ends the node. Arguments: directory, then those of `apollo discovery agent`.
 */
import { rmSync, writeSync, openSync, closeSync } from "node:fs";
import { join } from "node:path";

const [directory = "", ...flags] = process.argv.slice(2);
const BALLAST = join(directory, "ballast");
const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory]);
if (mounted.exitCode !== 0) throw new Error(`Cannot mount: ${mounted.stderr.toString()}`);
const cli = join(import.meta.dir, "../../src/cli/main.ts");
const node = Bun.spawn([process.execPath, cli, "discovery", "agent", "--data-dir", join(directory, "node"), ...flags], {
  stdin: "ignore",
  stdout: "inherit",
  stderr: "inherit",
});
process.on("SIGTERM", () => node.kill("SIGKILL"));
void node.exited.then((code) => process.exit(code));

for await (const line of console) {
  if (line === "end") node.kill("SIGTERM");
  else if (line === "free") rmSync(BALLAST, { force: true });
  else fill();
  console.log(`done ${line}`);
}

function fill(): void {
  const file = openSync(BALLAST, "w");
  const block = new Uint8Array(4096).fill(1);
  try {
    for (;;) writeSync(file, block);
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}
