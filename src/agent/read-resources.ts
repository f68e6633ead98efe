import { statfs } from "node:fs/promises";
import type { HostResources } from "../model/host.ts";
import type { Engine } from "../platform/ports/engine.ts";

/**
 * What this host has. An engine that is down has nothing to give: nothing is placed here until it is back and the agent connects anew.
 */
export async function readResources(engine: Engine, dataDir: string): Promise<HostResources> {
  const info = await engine.info().catch(() => ({ cpus: 0, memoryBytes: 0 }));
  const disk = await statfs(dataDir).catch(() => ({ bavail: 0, bsize: 0 }));
  const mebibyte = 1024 * 1024;
  return {
    cpus: info.cpus,
    memoryMiB: Math.floor(info.memoryBytes / mebibyte),
    diskMiB: Math.floor((disk.bavail * disk.bsize) / mebibyte),
  };
}
