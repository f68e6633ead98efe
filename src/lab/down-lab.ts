import { existsSync, readdirSync, rmSync, rmdirSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { endHolder } from "./boot-node.ts";
import { LAB_ROOT, labPaths } from "./lab-paths.ts";
import { cgroupOf, namespaceOf, parseLabName } from "./lab-plan.ts";
import { listLabNames } from "./lab-state.ts";
import { listMarked, signalProcess } from "./process-table.ts";
import { mustRun, runCommand } from "./run-command.ts";
import { waitFor } from "./wait-for.ts";

const END_TIMEOUT_MS = 15_000;
const CGROUP_TIMEOUT_MS = 10_000;
/** A command that a killed `up` had just started may still add something behind our back: then a second look is needed. */
const PASSES_MAX = 3;
const CGROUP_ROOT = "/sys/fs/cgroup";

/**
 * Takes a lab down by what is there, not by what was written down: processes by their mark, namespaces and cgroups by
 * their prefix, then the directory. Works on half-made labs and after any crash; a lab that is not there is fine.
 */
export async function downLab(name: string): Promise<void> {
  const lab = parseLabName(name);
  for (let pass = 1; pass <= PASSES_MAX; pass += 1) {
    await removeLab(lab);
    if (!(await listLabTraces()).includes(lab)) return;
  }
  throw new AppError("unavailable", `Cannot take lab "${lab}" down: something makes it anew`, {
    hint: `Is "apollo lab up" still running for it? Then end that first`,
  });
}

async function removeLab(lab: string): Promise<void> {
  await endProcesses(lab);
  const prefix = namespaceOf(lab, "");
  for (const network of await listNamespaces()) {
    if (isOfLab(network, prefix)) await mustRun(["ip", "netns", "delete", network]);
  }
  await removeCgroups((entry) => isOfLab(entry, prefix));
  // The hosts' mounts went with their mount namespaces: below the directory there are only files now.
  rmSync(labPaths(lab).dir, { recursive: true, force: true });
  // Kept while another lab is in it, or when someone mounted it.
  removeTreeIfEmpty(LAB_ROOT);
}

/** Takes down every lab that left anything: a directory, a process or a namespace. Returns their names. */
export async function downAllLabs(): Promise<readonly string[]> {
  const labs = await listLabTraces();
  for (const lab of labs) await downLab(lab);
  return labs;
}

/** Names of labs of which there is anything at all. */
export async function listLabTraces(): Promise<readonly string[]> {
  const networks = (await listNamespaces()).flatMap((network) => /^apl-(.+)-[a-z0-9]+$/.exec(network)?.[1] ?? []);
  return [...new Set([...listLabNames(), ...listMarked().map((found) => found.lab), ...networks])].toSorted();
}

/** Removes what a powered-off host leaves in the kernel: its network namespace and its containers' cgroups. */
export async function removeNodeRemains(lab: string, node: string): Promise<void> {
  const network = namespaceOf(lab, node);
  const networks = await listNamespaces();
  // The kernel takes a namespace apart in its own time, and until then it would still answer pings: pull the cable first.
  // It is fine when there is none: the namespace was gone already, or never got one.
  const fabric = namespaceOf(lab, "fabric");
  if (networks.includes(fabric)) await runCommand(["ip", "-n", fabric, "link", "delete", node]);
  if (networks.includes(network)) await mustRun(["ip", "netns", "delete", network]);
  await removeCgroups((entry) => entry === cgroupOf(lab, node));
}

/** `apl-a-b-h1` belongs to lab `a-b`, not to lab `a`: the part after the name has no dash. */
function isOfLab(entry: string, prefix: string): boolean {
  return entry.startsWith(prefix) && !entry.slice(prefix.length).includes("-");
}

async function endProcesses(lab: string): Promise<void> {
  const marked = listMarked(lab);
  for (const init of marked.filter((found) => found.init)) await endHolder(`${init.node} of lab ${lab}`, init);
  // What is left stands outside the namespaces: commands on their way in, holders that had not forked yet.
  for (const process of listMarked(lab)) signalProcess(process, "SIGKILL");
  await waitFor(() => Promise.resolve(listMarked(lab).length === 0), {
    what: `the end of lab ${lab}'s processes`,
    timeoutMs: END_TIMEOUT_MS,
  });
}

async function listNamespaces(): Promise<readonly string[]> {
  const text = await mustRun(["ip", "netns", "list"]);
  return text.split("\n").flatMap((line) => line.split(" ")[0] || []);
}

/** Cgroups of containers whose processes are gone; the kernel may need a moment to let go of the last ones. */
async function removeCgroups(matches: (entry: string) => boolean): Promise<void> {
  const roots = ["", ...listDirs(CGROUP_ROOT).map((entry) => `/${entry}`)].map((entry) => `${CGROUP_ROOT}${entry}`);
  const doomed = roots.flatMap((root) =>
    listDirs(root)
      .filter(matches)
      .map((entry) => `${root}/${entry}`),
  );
  for (const dir of doomed) {
    await waitFor(() => Promise.resolve(removeTree(dir)), {
      what: `cgroup ${dir} to be free`,
      timeoutMs: CGROUP_TIMEOUT_MS,
    });
  }
}

/** Deepest first, as the kernel wants it. False while something in it is busy. */
function removeTree(dir: string): boolean {
  for (const entry of listDirs(dir)) removeTree(`${dir}/${entry}`);
  try {
    rmdirSync(dir);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code === "EBUSY" || error.code === "ENOTEMPTY") return false;
    if (error.code !== "ENOENT")
      throw new AppError("unavailable", `Cannot remove ${dir}: ${error.message}`, { cause: error });
  }
  return true;
}

function removeTreeIfEmpty(dir: string): void {
  if (existsSync(dir) && readdirSync(dir).length === 0) removeTree(dir);
}

function listDirs(dir: string): readonly string[] {
  try {
    return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}
