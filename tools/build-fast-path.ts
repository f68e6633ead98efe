/** Compiles the fast path's BPF programs. The result is the same on every machine: the instructions are the kernel's own. */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SOURCE = join(ROOT, "src/platform/linux/fast-path/fast-path.bpf.c");
export const FAST_PATH_OBJECT = join(ROOT, "dist/fast-path.o");

/** Where Debian and its relatives keep the headers of one machine kind. */
function headerFolders(): readonly string[] {
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  return [`/usr/include/${machine}-linux-gnu`].filter((path) => existsSync(path));
}

/** @throws Error with the compiler's messages, or with what to install when there is no compiler. */
export async function buildFastPath(outFile: string): Promise<void> {
  const clang = Bun.which("clang");
  if (clang === null) {
    throw new Error(
      "Cannot build the fast path: there is no clang to compile fast-path.bpf.c\nInstall it: apt-get install clang (or run npm run setup)",
    );
  }
  mkdirSync(dirname(outFile), { recursive: true });
  const fresh = `${outFile}.new-${process.pid}`;
  const includes = headerFolders().map((path) => `-I${path}`);
  // No debug data: it would hold the path of this checkout.
  const argv = [clang, "-O2", "-g0", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", ...includes];
  const child = Bun.spawn([...argv, "-c", SOURCE, "-o", fresh], { stderr: "pipe", stdout: "ignore" });
  const [code, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (code !== 0) throw new Error(`Cannot build the fast path: clang said\n${said.slice(0, 4000)}`);
  renameSync(fresh, outFile);
}
