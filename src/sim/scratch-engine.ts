import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readFile, readdir, rm, rmdir, symlink } from "node:fs/promises";
import { join } from "node:path";

/** A container engine for one test run: its own namespaces, its own directories, nothing shared with the machine's. */
export interface ScratchEngine {
  readonly socketPath: string;
  /** An image made of busybox, present from the start. */
  readonly image: string;
  /** Runs a program inside the engine's mount, network and process namespaces. */
  readonly run: (argv: readonly string[]) => Promise<string>;
  /** Starts an image registry there, on that loopback address and port; it ends with the engine. */
  readonly startRegistry: (address: string) => Promise<void>;
  /** Ends the daemon and its containers, then starts a new daemon over the same data: what a restart of Docker does. */
  readonly restartDaemon: () => Promise<void>;
  /** Ends all and removes every directory, mount and cgroup. */
  readonly stop: () => Promise<void>;
}

const START_DEADLINE_MS = 60_000;
const APPLETS = [
  "sh",
  "sleep",
  "cat",
  "echo",
  "httpd",
  "nc",
  "true",
  "false",
  "ip",
  "env",
  "stty",
  "yes",
  "head",
  "kill",
];

/**
 * Starts Docker's daemon in namespaces of its own. A process that sleeps holds them: when it is killed, the kernel ends
 * every process of its process namespace, so that no container or shim can outlive the test.
 *
 * @param baseDir a directory on a real file system: Docker's overlay driver cannot stack on another overlay.
 */
export async function startScratchEngine(baseDir = "/var/tmp"): Promise<ScratchEngine> {
  const id = `apollo-scratch-${randomBytes(4).toString("hex")}`;
  const dir = join(baseDir, id);
  await mkdir(dir, { recursive: true });
  const holder = Bun.spawn(
    ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"],
    { stdio: ["ignore", "ignore", "ignore"] },
  );
  const inside = ["nsenter", "--target", String(await childOf(holder.pid)), "--mount", "--net", "--pid", "--"];
  const run = (argv: readonly string[]): Promise<string> => runToEnd([...inside, ...argv]);
  const socketPath = join(dir, "docker.sock");
  const log = Bun.file(join(dir, "dockerd.log"));
  const daemonArgv = renderDaemonArgv(dir, socketPath, id);
  let daemon: Bun.Subprocess | null = null;
  const startDaemon = async (): Promise<void> => {
    daemon = Bun.spawn([...inside, ...daemonArgv], { stdio: ["ignore", log, log] });
    await waitFor("dockerd to answer", async () => {
      if (daemon?.exitCode !== null) throw new Error(`dockerd ended: ${(await log.text()).slice(-2000)}`);
      return fetch("http://docker/_ping", { unix: socketPath }).then(
        (response) => response.ok,
        () => false,
      );
    });
  };
  const stop = async (): Promise<void> => {
    holder.kill("SIGKILL");
    await holder.exited;
    await daemon?.exited;
    await removeCgroups(id);
    await removeTree(dir);
  };
  try {
    // The daemon writes a key to /etc/docker and sockets to /run, whatever its options say.
    await Bun.write(join(dir, "daemon.json"), "{}");
    await mkdir(join(dir, "etc"));
    await run(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    await run(["mount", "-t", "overlay", "overlay", "-o", await etcOverlay(dir), "/etc"]);
    await run(["ip", "link", "set", "lo", "up"]);
    await startDaemon();
    await importImage(dir, socketPath, `${id}:1`);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    socketPath,
    image: `${id}:1`,
    run,
    startRegistry: async (address) => {
      const config = join(dir, "registry.yml");
      await Bun.write(config, renderRegistryConfig(address, join(dir, "registry")));
      Bun.spawn([...inside, "docker-registry", "serve", config], { stdio: ["ignore", log, log] });
      await waitFor("the registry to answer", () =>
        run(["curl", "--silent", "--fail", `http://${address}/v2/`]).then(
          () => true,
          () => false,
        ),
      );
    },
    restartDaemon: async () => {
      // nsenter forks for the process namespace and passes no signal on; it ends when the daemon does.
      await run(["kill", "-TERM", (await readFile(join(dir, "docker.pid"), "utf8")).trim()]);
      await daemon?.exited;
      await startDaemon();
    },
    stop,
  };
}

function renderDaemonArgv(dir: string, socketPath: string, id: string): readonly string[] {
  const places = [
    "--data-root",
    join(dir, "data"),
    "--exec-root",
    join(dir, "exec"),
    "--pidfile",
    join(dir, "docker.pid"),
  ];
  const identity = [
    "--host",
    `unix://${socketPath}`,
    "--cgroup-parent",
    `/${id}`,
    "--config-file",
    join(dir, "daemon.json"),
  ];
  // No rule, bridge or sysctl outside its own namespaces.
  const quiet = [
    "--iptables=false",
    "--ip6tables=false",
    "--bridge=none",
    "--ip-forward=false",
    "--userland-proxy=false",
  ];
  return ["dockerd", ...places, ...identity, ...quiet, "--shutdown-timeout", "2"];
}

function renderRegistryConfig(address: string, directory: string): string {
  const storage = `storage:\n  filesystem:\n    rootdirectory: ${directory}\n`;
  return `version: 0.1\n${storage}http:\n  addr: ${address}\n`;
}

async function etcOverlay(dir: string): Promise<string> {
  await mkdir(join(dir, "etc-upper"));
  await mkdir(join(dir, "etc-work"));
  return `lowerdir=/etc,upperdir=${join(dir, "etc-upper")},workdir=${join(dir, "etc-work")}`;
}

async function childOf(pid: number): Promise<number> {
  let child = 0;
  await waitFor("the namespaces", async () => {
    child = Number((await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ")[0]);
    if (child === 0) return false;
    // unshare forks before it mounts /proc: the namespaces are complete when the child runs sleep.
    return (await readFile(`/proc/${child}/comm`, "utf8")).trim() === "sleep";
  });
  return child;
}

async function importImage(dir: string, socketPath: string, image: string): Promise<void> {
  const bin = join(dir, "rootfs", "bin");
  await mkdir(bin, { recursive: true });
  await copyFile("/bin/busybox", join(bin, "busybox"));
  for (const applet of APPLETS) await symlink("busybox", join(bin, applet));
  await mkdir(join(dir, "rootfs", "tmp"));
  const tar = join(dir, "rootfs.tar");
  await runToEnd(["tar", "--create", "--file", tar, "--directory", join(dir, "rootfs"), "."]);
  const change = ["--change", 'CMD ["sleep", "100000"]', "--change", "EXPOSE 8080", "--change", "ENV FROM_IMAGE=yes"];
  await runToEnd(["docker", "--host", `unix://${socketPath}`, "import", ...change, tar, image]);
}

async function removeCgroups(id: string): Promise<void> {
  for (const controller of await readdir("/sys/fs/cgroup").catch(() => [])) {
    const parent = join("/sys/fs/cgroup", controller, id);
    for (const child of await readdir(parent, { withFileTypes: true }).catch(() => [])) {
      if (child.isDirectory()) await retryWhileBusy(() => rmdir(join(parent, child.name)));
    }
    await retryWhileBusy(() => rmdir(parent));
  }
}

/** Mounts of a namespace that was just killed go away a moment later. */
async function removeTree(dir: string): Promise<void> {
  await retryWhileBusy(() => rm(dir, { recursive: true, force: true }));
}

async function retryWhileBusy(attempt: () => Promise<void>): Promise<void> {
  await waitFor("busy files to be released", () =>
    attempt().then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return true;
        if (error.code === "EBUSY" || error.code === "ENOTEMPTY") return false;
        throw error;
      },
    ),
  );
}

async function runToEnd(argv: readonly string[]): Promise<string> {
  const child = Bun.spawn([...argv], { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`Cannot run ${argv.join(" ")}: exit code ${code}: ${stderr.trim()}`);
  return stdout;
}

async function waitFor(what: string, holds: () => Promise<boolean>): Promise<void> {
  const endMs = Date.now() + START_DEADLINE_MS;
  while (!(await holds())) {
    if (Date.now() > endMs) throw new Error(`Cannot go on: waited ${START_DEADLINE_MS / 1000} s for ${what}`);
    await Bun.sleep(20);
  }
}
