import { cpus, freemem, hostname, platform, totalmem, uptime } from "node:os";

/** What Consul's `agent/host` says of a machine. */
export function readHostInfo(nowMs: number): object {
  const [first] = cpus();
  return {
    Memory: { total: totalmem(), available: freemem(), used: totalmem() - freemem() },
    CPU: cpus().map(({ model, speed }, cpu) => ({ cpu, modelName: model, mhz: speed, cores: 1 })),
    Host: {
      hostname: hostname(),
      os: platform(),
      uptime: Math.floor(uptime()),
      procs: cpus().length,
      platform: first?.model ?? "",
    },
    Disk: null,
    CollectionTime: nowMs * 1_000_000,
    Errors: null,
  };
}
