import { spawn } from "node:child_process";
import { copyFileSync, existsSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { labPaths } from "./lab-paths.ts";
import type { NodePaths } from "./lab-paths.ts";
import { namespaceOf } from "./lab-plan.ts";
import type { LabNode, LabPlan } from "./lab-plan.ts";
import { nodeEnv } from "./node-command.ts";
import { isAlive, listMarked, signalProcess } from "./process-table.ts";
import type { ProcessRef } from "./process-table.ts";
import { mustRun } from "./run-command.ts";
import { waitFor } from "./wait-for.ts";

const HOLDER_TIMEOUT_MS = 10_000;
const END_TIMEOUT_MS = 15_000;

/**
 * Starts process 1 of a new set of namespaces and returns it. It only holds them open and reaps; whatever runs there is
 * put in with nsenter. `kinds` are unshare's flags beyond the PID namespace.
 */
export async function startHolder(
  lab: string,
  node: string,
  options: { readonly network: string | null; readonly kinds: readonly string[] },
): Promise<ProcessRef> {
  const enter = options.network === null ? [] : ["nsenter", `--net=/run/netns/${options.network}`];
  const argv = [
    "unshare",
    ...options.kinds,
    "--pid",
    "--fork",
    "--kill-child",
    "tini",
    "-s",
    "--",
    "sleep",
    "infinity",
  ];
  const [program = "", ...rest] = enter.concat(argv);
  // Its own session: Ctrl-C in the terminal of `lab up` must not reach it.
  const child = spawn(program, rest, { stdio: "ignore", detached: true, env: nodeEnv(lab, node) });
  let failed: string | null = null;
  child.on("error", (error) => (failed = error.message));
  child.on("exit", (code) => (failed ??= `exit code ${code}`));
  child.unref();
  return waitFor(
    () => {
      if (failed !== null) throw new Error(`Cannot start process 1 of ${node}: ${failed}`);
      return Promise.resolve(listMarked(lab).find((found) => found.node === node && found.init) ?? null);
    },
    { what: `process 1 of ${node}`, timeoutMs: HOLDER_TIMEOUT_MS, intervalMs: 10 },
  );
}

/** Ends everything in a PID namespace by ending its first process, and waits until the kernel has let go of it. */
export async function endHolder(what: string, holder: ProcessRef): Promise<void> {
  signalProcess(holder, "SIGKILL");
  await waitFor(() => Promise.resolve(!isAlive(holder)), { what: `the end of ${what}`, timeoutMs: END_TIMEOUT_MS });
}

/**
 * Powers a host on: network namespace with its cable to the fabric, root overlay, /run and /tmp of its own, process 1.
 * What lies on its disk (upper layer, engine data, /var/lib/apollo) is kept from the time before.
 */
export async function bootNode(plan: LabPlan, node: LabNode, signal?: AbortSignal): Promise<ProcessRef> {
  const network = namespaceOf(plan.name, node.name);
  const paths = labPaths(plan.name).node(node.name);
  signal?.throwIfAborted();
  await connectNode(plan, node, network);
  if (!existsSync(paths.upper)) formatDisk(plan, node, paths);
  const kinds = ["--mount", "--uts", "--ipc", "--propagation", "private"];
  const holder = await startHolder(plan.name, node.name, { network, kinds });
  await mountRoot(holder, node, paths);
  return holder;
}

/** A veth pair made between the two namespaces, so that the machine's own never sees it. */
async function connectNode(plan: LabPlan, node: LabNode, network: string): Promise<void> {
  const fabric = namespaceOf(plan.name, "fabric");
  await mustRun(["ip", "netns", "add", network]);
  await mustRun(["ip", "-n", fabric, "-batch", "-"], {
    stdin: [
      // A network card keeps its address over a power cut; with a new one the neighbours would talk to the old for a while.
      `link add ${node.name} type veth peer name eth0 address ${macOf(node.address)} netns ${network}`,
      `link set ${node.name} master seg${node.segment} up`,
      "",
    ].join("\n"),
  });
  await mustRun(["ip", "-n", network, "-batch", "-"], {
    stdin: [
      "link set lo up",
      `address add ${node.address}/24 dev eth0`,
      "link set eth0 up",
      `route add default via ${node.gateway}`,
      "",
    ].join("\n"),
  });
}

/** Locally administered, made of the IPv4 address. */
export function macOf(address: Ipv4): string {
  const bytes = address.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ["02", "00", ...bytes].join(":");
}

/** First power-on: the files in which a host differs from the machine whose root it shares. */
function formatDisk(plan: LabPlan, node: LabNode, paths: NodePaths): void {
  for (const dir of [paths.work, paths.merged, paths.docker, paths.apollo]) mkdirSync(dir, { recursive: true });
  const own = ["etc/docker", "usr/bin", "var/lib/docker", "var/lib/apollo", ...HIDDEN];
  for (const dir of own) mkdirSync(`${paths.upper}/${dir}`, { recursive: true });
  const hosts = plan.nodes.map((other) => `${other.address} ${other.name}`);
  const etc = `${paths.upper}/etc`;
  writeFileSync(`${etc}/hostname`, `${node.name}\n`);
  writeFileSync(`${etc}/hosts`, `${["127.0.0.1 localhost", ...hosts].join("\n")}\n`);
  writeFileSync(`${etc}/resolv.conf`, `nameserver ${node.gateway}\n`);
  writeFileSync(`${etc}/machine-id`, `${machineId(plan.name, node.mark)}\n`);
  const binary = labPaths(plan.name).binary;
  if (existsSync(binary)) placeBinary(binary, `${paths.upper}/usr/bin/apollo`);
}

/** One file of 100 MB for all hosts: also one copy of it in the page cache. */
export function placeBinary(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}

function machineId(lab: string, mark: number): string {
  return new Bun.CryptoHasher("md5").update(`${lab}/${mark}`).digest("hex");
}

/** Places of the machine that a host must not see: other labs' disks, and an engine's or a platform's own state. */
const HIDDEN = ["var/lib/apollo-lab", "var/lib/containerd"];

async function mountRoot(holder: ProcessRef, node: LabNode, paths: NodePaths): Promise<void> {
  const root = paths.merged;
  // The machine's root and mounts are still in place here, seen through a mount namespace of the host's own.
  const outside = ["nsenter", "--target", String(holder.pid), "--mount", "--net", "--uts", "--ipc", "--pid", "--"];
  const layers = `lowerdir=/,upperdir=${paths.upper},workdir=${paths.work}`;
  const mounts: readonly (readonly string[])[] = [
    ["-t", "overlay", "overlay", "-o", layers, root],
    ["-t", "proc", "proc", `${root}/proc`],
    // A new sysfs shows this namespace's devices; the cgroup tree must come from the machine, or the engine finds none.
    ["-t", "sysfs", "sysfs", `${root}/sys`],
    ["--rbind", "/sys/fs/cgroup", `${root}/sys/fs/cgroup`],
    // Where AppArmor is on, the engine loads its profile through it and starts no container without.
    ...(existsSync("/sys/kernel/security/apparmor")
      ? [["--rbind", "/sys/kernel/security", `${root}/sys/kernel/security`]]
      : []),
    ["--rbind", "/dev", `${root}/dev`],
    ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", `${root}/dev/shm`],
    ["-t", "tmpfs", "-o", "mode=755", "tmpfs", `${root}/run`],
    ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", `${root}/tmp`],
    ...HIDDEN.map((dir) => ["-t", "tmpfs", "-o", "mode=700", "tmpfs", `${root}/${dir}`]),
    ["--bind", paths.docker, `${root}/var/lib/docker`],
    ["--bind", paths.apollo, `${root}/var/lib/apollo`],
  ];
  for (const mount of mounts) await mustRun([...outside, "mount", ...mount]);
  const old = `${root}/run/machine`;
  await mustRun([...outside, "mkdir", old]);
  await mustRun([...outside, "pivot_root", root, old]);
  const inside = ["nsenter", "--target", String(holder.pid), "--all", "--root", "--wdns=/", "--"];
  await mustRun([...inside, "umount", "--lazy", "/run/machine"]);
  await mustRun([...inside, "rmdir", "/run/machine"]);
  await mustRun([...inside, "hostname", node.name]);
  if (node.role === "host" && !existsSync(`/proc/${holder.pid}/root/usr/sbin/dockerd`)) {
    throw new AppError("unavailable", `Cannot boot ${node.name}: its root has no /usr/sbin/dockerd`, {
      hint: "The lab needs docker.io installed, and /usr on the same file system as /",
    });
  }
}
