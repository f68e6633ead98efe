import { chmodSync, copyFileSync, existsSync, mkdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import dockerfile from "../../examples/nodejs-rest-api/Dockerfile" with { type: "text" };
// oxlint-disable-next-line import/default -- imported as text, not as a module
import server from "../../examples/nodejs-rest-api/server.mjs" with { type: "text" };
import { AppError } from "../model/error.ts";
import { labPaths } from "./lab-paths.ts";
import { REGISTRY } from "./lab-plan.ts";
import { mustExec } from "./node-command.ts";
import { findProgram, mustRun, runCommand } from "./run-command.ts";

/** Images the lab's registry can hold. All are made here: the lab has no network to pull from. */
export const NODE_IMAGE = "apollo/node:20";
export const WEB_IMAGE = `${REGISTRY}/apollo/web:1`;
export const APP_VERSIONS = ["1.0.0", "2.0.0"] as const;

export function appImage(version: string): string {
  return `${REGISTRY}/apollo/nodejs-rest-api:${version}`;
}

const IMPORT_TIMEOUT_MS = 120_000;
const PUSH_TIMEOUT_MS = 180_000;

/**
 * Builds the example's images on one host's engine and pushes them to the lab's registry: a base with the machine's own
 * Node.js, and the app in two versions on top of it.
 */
export async function publishAppImages(lab: string, host: string, onProgress?: (text: string) => void): Promise<void> {
  onProgress?.("base image from this machine's Node.js");
  await importImage(lab, host, {
    image: NODE_IMAGE,
    changes: ["ENV PATH=/usr/local/bin:/usr/bin:/bin", 'CMD ["node"]'],
    fill: fillNodeRoot,
  });
  for (const version of APP_VERSIONS) {
    onProgress?.(`image ${appImage(version)}`);
    await buildApp(lab, host, version);
    await mustExec(lab, host, ["docker", "push", "--quiet", appImage(version)], { timeoutMs: PUSH_TIMEOUT_MS });
  }
}

/**
 * Process 1 of a container gets no signal that it does not handle: without the trap every stop would take the whole grace
 * time. The shell waits in `wait`, which a signal interrupts.
 */
const WEB_COMMAND = "httpd -f -p 80 -h /www & trap 'exit 0' TERM; wait";

/** A web server of 2 MB on busybox for tests and benchmarks: answers `GET /` on port 80, or what its command says. */
export async function publishWebImage(lab: string, host: string): Promise<void> {
  await importImage(lab, host, {
    image: WEB_IMAGE,
    changes: ["ENV PATH=/bin", "EXPOSE 80", `CMD ${JSON.stringify(["sh", "-c", WEB_COMMAND])}`],
    fill: fillWebRoot,
  });
  await mustExec(lab, host, ["docker", "push", "--quiet", WEB_IMAGE], { timeoutMs: PUSH_TIMEOUT_MS });
}

interface RootImage {
  readonly image: string;
  /** Dockerfile instructions that `docker import` applies. */
  readonly changes: readonly string[];
  readonly fill: (root: string) => Promise<void>;
}

async function importImage(lab: string, host: string, { image, changes, fill }: RootImage): Promise<void> {
  await withScratch(lab, async (dir) => {
    const root = `${dir}/root`;
    mkdirSync(root, { recursive: true });
    await fill(root);
    const archive = `${dir}/root.tar`;
    await mustRun([
      "tar",
      "--create",
      "--numeric-owner",
      "--owner=0",
      "--group=0",
      `--file=${archive}`,
      "-C",
      root,
      ".",
    ]);
    const options = changes.flatMap((change) => ["--change", change]);
    const argv = ["docker", "import", ...options, "-", image];
    await mustExec(lab, host, argv, { stdinFile: archive, timeoutMs: IMPORT_TIMEOUT_MS });
  });
}

/** `docker build` with the context by standard input: the classic builder, which needs no network for this. */
async function buildApp(lab: string, host: string, version: string): Promise<void> {
  await withScratch(lab, async (dir) => {
    writeFileSync(`${dir}/Dockerfile`, dockerfile);
    writeFileSync(`${dir}/server.mjs`, server);
    const archive = `${dir}/context.tar`;
    await mustRun(["tar", "--create", `--file=${archive}`, "-C", dir, "Dockerfile", "server.mjs"]);
    const argv = ["docker", "build", "--quiet", "--tag", appImage(version), "--build-arg", `VERSION=${version}`, "-"];
    const env = { DOCKER_BUILDKIT: "0" };
    await mustExec(lab, host, argv, { stdinFile: archive, timeoutMs: IMPORT_TIMEOUT_MS, env });
  });
}

async function withScratch(lab: string, work: (dir: string) => Promise<void>): Promise<void> {
  const dir = `${labPaths(lab).scratch}/${crypto.randomUUID()}`;
  mkdirSync(dir, { recursive: true });
  try {
    await work(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function fillNodeRoot(root: string): Promise<void> {
  const node = realpathSync(findProgram("node"));
  await copyProgram(root, node, "/usr/local/bin/node");
  // Without symbols it is a fifth smaller; binutils may be missing, and then it is not.
  await runCommand(["strip", `${root}/usr/local/bin/node`]).catch(() => null);
  fillEtc(root);
}

async function fillWebRoot(root: string): Promise<void> {
  const busybox = await findBusybox();
  mkdirSync(`${root}/bin`, { recursive: true });
  copyFileSync(busybox, `${root}/bin/busybox`);
  chmodSync(`${root}/bin/busybox`, 0o755);
  for (const applet of [
    "sh",
    "httpd",
    "wget",
    "nslookup",
    "ping",
    "sleep",
    "cat",
    "ls",
    "ip",
    "kill",
    "nc",
    "hostname",
    "env",
    "true",
    "false",
  ]) {
    await mustRun(["ln", "-s", "busybox", `${root}/bin/${applet}`]);
  }
  mkdirSync(`${root}/www`, { recursive: true });
  writeFileSync(`${root}/www/index.html`, "ok\n");
  fillEtc(root);
}

/** @throws AppError `unavailable` when only a busybox with shared libraries is here. */
async function findBusybox(): Promise<string> {
  for (const path of ["/bin/busybox", "/usr/bin/busybox"]) {
    if (existsSync(path) && (await runCommand(["ldd", path])).code !== 0) return path;
  }
  throw new AppError("unavailable", "Cannot build the web image: there is no static busybox", {
    hint: "apt-get install busybox-static",
  });
}

/** The least that name look-up and user ids need. */
function fillEtc(root: string): void {
  for (const dir of ["etc", "tmp", "dev", "proc", "sys", "app"]) mkdirSync(`${root}/${dir}`, { recursive: true });
  writeFileSync(`${root}/etc/passwd`, "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
  writeFileSync(`${root}/etc/group`, "root:x:0:\nnogroup:x:65534:\n");
  writeFileSync(`${root}/etc/nsswitch.conf`, "hosts: files dns\n");
}

/** A program with the shared libraries it names, and those that glibc loads by itself for name look-up. */
async function copyProgram(root: string, from: string, to: string): Promise<void> {
  place(root, from, to);
  const libraries = parseLdd(await mustRun(["ldd", from]));
  const libc = libraries.find((path) => path.includes("/libc.so"));
  const hidden =
    libc === undefined
      ? []
      : ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"].map((name) => `${dirname(libc)}/${name}`);
  for (const path of [...libraries, ...hidden]) if (existsSync(path)) place(root, path, path);
}

function place(root: string, from: string, to: string): void {
  mkdirSync(dirname(`${root}${to}`), { recursive: true });
  copyFileSync(realpathSync(from), `${root}${to}`);
  chmodSync(`${root}${to}`, 0o755);
}

/** Paths of the libraries that `ldd` lists, the loader included; sorted, each once. */
export function parseLdd(text: string): readonly string[] {
  const paths = text.split("\n").flatMap((line) => /(?:=> )?(\/\S+) \(0x[0-9a-f]+\)/.exec(line)?.[1] ?? []);
  return [...new Set(paths)].filter((path) => basename(path) !== "").toSorted();
}
