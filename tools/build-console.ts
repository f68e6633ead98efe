/**
 * Builds the console into a folder: hashed script, style and icon, the page that names them, and `bundle.js`, a module
 * that imports each as a file. Importing that module is what makes `bun build --compile` carry the files in the binary.
 */
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** Budget of the first load, DESIGN §7. */
export const SCRIPT_GZIP_BYTES_MAX = 200 * 1024;

export interface ConsoleBuild {
  readonly outDir: string;
  readonly files: readonly string[];
  /** What a browser loads before the first picture. */
  readonly scriptGzipBytes: number;
}

const SOURCE = new URL("../src/console/", import.meta.url).pathname;

/**
 * Builds anew, beside the old build and then in its place, so that nobody sees half of one. Throws with the bundler's messages when the source does not compile or the script is over its
 * budget; the old build then stays.
 */
export async function buildConsole(outDir: string): Promise<ConsoleBuild> {
  const work = `${outDir}.new-${process.pid}`;
  await mkdir(work, { recursive: true });
  try {
    const build = await buildInto(work);
    await rm(outDir, { recursive: true, force: true });
    await rename(work, outDir);
    return { outDir, ...build };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function buildInto(outDir: string): Promise<Omit<ConsoleBuild, "outDir">> {
  const result = await Bun.build({
    entrypoints: [join(SOURCE, "main.tsx")],
    outdir: outDir,
    target: "browser",
    minify: true,
    splitting: true,
    define: { "process.env.NODE_ENV": '"production"' },
    naming: { entry: "app-[hash].[ext]", chunk: "part-[hash].[ext]", asset: "[name]-[hash].[ext]" },
  });
  const outputs = result.outputs.map((output) => ({ name: output.path.split("/").at(-1) ?? "", kind: output.kind }));
  const script = outputs.find((output) => output.kind === "entry-point")?.name;
  const style = outputs.find((output) => output.name.endsWith(".css"))?.name;
  if (script === undefined || style === undefined)
    throw new Error("Cannot build the console: a script or style is missing");

  const icon = await Bun.file(join(SOURCE, "icon.svg")).text();
  const iconName = `icon-${Bun.hash(icon).toString(36).slice(0, 8)}.svg`;
  await Bun.write(join(outDir, iconName), icon);
  const template = await Bun.file(join(SOURCE, "index.html")).text();
  const page = template.replace("{{icon}}", iconName).replace("{{css}}", style).replace("{{js}}", script);
  await Bun.write(join(outDir, "index.html"), page);

  const files = (await readdir(outDir)).toSorted();
  await Bun.write(join(outDir, "bundle.js"), renderBundleModule(files));
  const scriptGzipBytes = Bun.gzipSync(await Bun.file(join(outDir, script)).bytes()).length;
  if (scriptGzipBytes > SCRIPT_GZIP_BYTES_MAX) {
    throw new Error(
      `Cannot accept the console's script: ${scriptGzipBytes} bytes gzipped, at most ${SCRIPT_GZIP_BYTES_MAX}`,
    );
  }
  return { files, scriptGzipBytes };
}

/** A map from file name to where the running program finds it: on disk, or inside the binary. */
function renderBundleModule(files: readonly string[]): string {
  const imports = files.map((file, index) => `import f${index} from "./${file}" with { type: "file" };`);
  const entries = files.map((file, index) => `  ${JSON.stringify(file)}: f${index},`);
  return `// Made by tools/build-console.ts.\n${imports.join("\n")}\nexport const files = {\n${entries.join("\n")}\n};\n`;
}

if (import.meta.main) {
  const outDir = process.argv[2] ?? new URL("../dist/console", import.meta.url).pathname;
  const build = await buildConsole(outDir);
  console.log(`console: ${build.files.length} files, script ${Math.round(build.scriptGzipBytes / 1024)} KiB gzipped`);
}
