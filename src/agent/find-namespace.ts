import type { Container } from "../model/container.ts";
import type { AttachTarget } from "../network/attachment.ts";
import type { Wiring } from "../platform/ports/wiring.ts";

export interface FoundNamespace {
  readonly path: string;
  readonly id: string;
}

/**
 * The network namespace of a target now; null when it has none, undefined when nobody can tell.
 * @param containers null while the engine does not answer
 */
export async function findNamespace(
  target: AttachTarget,
  containers: readonly Container[] | null,
  wiring: Pick<Wiring, "namespaceAt" | "processStart">,
): Promise<FoundNamespace | null | undefined> {
  const path = await pathOf(target, containers, wiring);
  if (typeof path !== "string") return path;
  const id = await wiring.namespaceAt(path);
  return id === null ? null : { path, id };
}

async function pathOf(
  target: AttachTarget,
  containers: readonly Container[] | null,
  wiring: Pick<Wiring, "processStart">,
): Promise<string | null | undefined> {
  if (target.kind === "netns") return target.path;
  if (target.kind === "pid") {
    const same = (await wiring.processStart(target.pid)) === target.start;
    return same ? `/proc/${target.pid}/ns/net` : null;
  }
  if (containers === null) return undefined;
  const pid = containers.find(({ name, state }) => name === target.name && state === "running")?.pid ?? null;
  return pid === null ? null : `/proc/${pid}/ns/net`;
}
